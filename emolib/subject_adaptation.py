"""A discriminant analysis that adapts its class means to the person who is answered, without a label of theirs.

People show an emotion each in their own way, beyond a face of their own at rest: where a subject's clips of an emotion
lie, relative to everybody's, can be seen in the clips themselves. Means and one covariance of the classes are learned
from other people; for a new person EM alternates between the posteriors of their clips and the means

    mean of class c = (relevance * mean of the others + sum of posterior * clip) / (relevance + sum of posterior).

That is maximum a posteriori adaptation, as speech recognition adapts to a speaker (Gauvain and Lee 1994, doi
10.1109/89.279278; "relevance factor": Reynolds et al. 2000). It needs several clips of a person at once, and gains most
where these hold several of each class; with one clip a class it is close to no adaptation at all.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import pinvh
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class AdaptiveDiscriminant(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis (Ledoit-Wolf covariance) whose means follow the rows that it is asked about.

    Parameters
    ----------
    relevance : above 0; how many own rows of a class weigh as much as everybody's mean.
    sharpness : above 0; the posteriors' exponent. Features that repeat each other make 1 overconfident.
    n_iterations : of EM; 0 is plain discriminant analysis.
    """

    def __init__(self, relevance: float = 4.0, sharpness: float = 0.5, n_iterations: int = 20):
        self.relevance = relevance
        self.sharpness = sharpness
        self.n_iterations = n_iterations

    def fit(self, X, y):
        """Learn from rows [n, F] of many people and their classes [n]."""
        for name, low in (("relevance", 0), ("sharpness", 0), ("n_iterations", -1)):
            if not getattr(self, name) > low:
                raise ValueError(f"{name}: {getattr(self, name)!r} received, a number above {low} is allowed")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, code = np.unique(y, return_inverse=True)
        count = np.bincount(code)
        self.means_ = np.stack([X[code == k].mean(axis=0) for k in range(len(count))])
        self.precision_ = pinvh(ledoit_wolf(X - self.means_[code], assume_centered=True)[0])
        self.log_prior_ = np.log(count / count.sum())
        return self

    def predict_proba(self, X):
        """Posteriors [n, classes] of rows [n, F] that are all of *one* person; others' rows would mix their means."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        posterior = self._posterior(X, self.means_)
        for _ in range(self.n_iterations):
            own = posterior.sum(axis=0)[:, None]
            means = (self.relevance * self.means_ + posterior.T @ X) / (self.relevance + own)
            posterior = self._posterior(X, means)
        return posterior

    def predict(self, X):
        """Class of the largest posterior, [n], as for `predict_proba`."""
        largest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[largest]

    def _posterior(self, X: np.ndarray, means: np.ndarray) -> np.ndarray:
        apart = X[:, None] - means
        distance = np.einsum("ncf,fg,ncg->nc", apart, self.precision_, apart, optimize=True)
        return softmax(self.log_prior_ - 0.5 * self.sharpness * distance, axis=1)
