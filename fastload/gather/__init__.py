"""Gathering a data set such as SSL4EO-S12 from open archives.

`plan` says where and when, as a function of a seed; `fetch` finds the scenes in a STAC catalogue
and writes the patches in the layout of SSL4EO-S12 v1.1; `report` shows what came of it. See
docs/gathering.md.
"""
