"""Metrics of generative models, which compare features of generated and real samples."""

from ignite.metrics.gan.fid import FID
from ignite.metrics.gan.inception_score import InceptionScore

__all__ = ["FID", "InceptionScore"]
