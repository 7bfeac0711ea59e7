"""Metrics of recommender systems, computed from the ranks of the items of each user."""

from ignite.metrics.rec_sys.hitrate import HitRate
from ignite.metrics.rec_sys.ndcg import NDCG
from ignite.metrics.rec_sys.precision_at_k import PrecisionAtK
from ignite.metrics.rec_sys.recall_at_k import RecallAtK
from ignite.metrics.rec_sys.reciprocal_rank import MeanReciprocalRank

__all__ = ["NDCG", "HitRate", "MeanReciprocalRank", "PrecisionAtK", "RecallAtK"]
