"""Services that hold the archives: where each has which band of which modality.

A service is a file of YAML or JSON; those that are shipped lie beside this one.
"""

from fastload.gather.search.services.description import SHIPPED, service
from fastload.gather.search.services.service import MODALITIES, Served, Service

__all__ = ["MODALITIES", "SHIPPED", "Served", "Service", "service"]
