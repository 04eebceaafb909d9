"""What changes from step to step and from epoch to epoch: learning rate and augmentation."""

import math
from dataclasses import replace

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler

from noduleclip.config import TrainConfig

_FINAL_DIVISOR = 100  # the peak learning rate over that of the first and the last step
_COOLDOWN_DIVISOR = 6


class LearningRateSchedule:
    """Linear warm-up and cosine decay; then a second, lower cosine over the cooldown epochs.

    Args:
        optimizer: Its learning rate is set.
        config: Peak learning rate and epochs.
        steps_per_epoch: Optimiser steps in an epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int) -> None:
        self._optimizer, self._peak = optimizer, config.lr
        self._main_steps = config.main_epochs * steps_per_epoch
        self._cooldown_steps = config.epochs * steps_per_epoch - self._main_steps
        self._schedule = CosineLRScheduler(
            optimizer,
            t_initial=max(1, self._main_steps),
            lr_min=config.lr / _FINAL_DIVISOR,
            warmup_t=round(min(config.warmup_epochs, config.epochs / 2) * steps_per_epoch),
            warmup_lr_init=config.lr / _FINAL_DIVISOR,
            t_in_epochs=False,
        )

    def set(self, step: int) -> None:
        """Set the learning rate of an optimiser step, counted from 0 over the whole run."""
        self._schedule.step_update(step)
        done = step - self._main_steps
        if done >= 0:
            cosine = 1 + math.cos(math.pi * done / self._cooldown_steps)
            for group in self._optimizer.param_groups:
                group["lr"] = self._peak / _COOLDOWN_DIVISOR * cosine / 2


def augmentation_at(config: TrainConfig, epoch: int) -> TrainConfig:
    """Return the augmentation of an epoch, counted from 0: no stretching in the cooldown epochs."""
    return replace(config, max_stretch=1.0) if epoch >= config.main_epochs else config
