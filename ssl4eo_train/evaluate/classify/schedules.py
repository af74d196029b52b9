"""Learning rates of the papers' programs, as functions of the step."""

import math

from ssl4eo_train.evaluate.classify.plan import Plan


def rate(plan: Plan, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, from 0.

    - ``milestones``: a tenth from each milestone on, by epoch (main_lincls.py of MoCo).
    - ``cosine``: half a cosine to `Plan.least`, by epoch (the same; and CosineAnnealingLR, which
      DINO's eval_linear.py steps each epoch).
    - ``cosine_steps``: linear from 0 over the warm-up, then half a cosine, by step, the position
      in an epoch being a fraction of it (util/lr_sched.py of MAE).
    - ``cosine_beit``: linear from 0 over the warm-up, the top being reached by its last step, then
      half a cosine whose first step is at the top, too (`cosine_scheduler` of BEiT's utils.py).
    """
    epoch = step // steps_per_epoch
    if plan.schedule == "constant":
        return plan.rate
    if plan.schedule == "milestones":
        return float(plan.rate * 0.1 ** sum(epoch >= m for m in plan.milestones))
    if plan.schedule == "cosine":
        return _half_cosine(plan, epoch / plan.epochs)
    if plan.schedule == "cosine_steps":
        now = step / steps_per_epoch
        if now < plan.warmup:
            return plan.rate * now / plan.warmup
        return _half_cosine(plan, (now - plan.warmup) / (plan.epochs - plan.warmup))
    rising = round(plan.warmup * steps_per_epoch)
    if step < rising:
        return plan.rate * step / max(1, rising - 1)
    return _half_cosine(plan, (step - rising) / (plan.epochs * steps_per_epoch - rising))


def _half_cosine(plan: Plan, share: float) -> float:
    return plan.least + (plan.rate - plan.least) * 0.5 * (1 + math.cos(math.pi * share))
