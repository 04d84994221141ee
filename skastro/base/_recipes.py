# SPDX-License-Identifier: BSD-3-Clause
"""Recipes: the settings of a published system under one name."""

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Self


class RecipeMixin:
    """Mixin for estimators that are made from a recipe."""

    # Parameters of the constructor, by the recipe's name.
    _recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def from_recipe(cls, name: str, **overrides: Any) -> Self:
        """Make an estimator with the settings of a published system.

        Parameters
        ----------
        name : str
            The recipe; those of the class are listed in its notes.
        **overrides : dict
            Parameters of the constructor that differ from the recipe. A part that is
            replaced, as by ``module=...`` or ``optimizer=...``, leaves the recipe's
            settings of that part (``module__...``) out; further ``callbacks`` leave
            those of the default callbacks as they are.

        Returns
        -------
        estimator : object
            A new estimator, not fitted.

        Raises
        ------
        ValueError
            If the class has no such recipe.
        TypeError
            If it has no such parameter.
        """
        names = sorted(cls._recipes)
        if name not in names:
            message = f"{cls.__name__} has no recipe {name!r}."
            if close := get_close_matches(str(name).lower(), names, n=1):
                message += f" Did you mean {close[0]!r}?"
            known = ", ".join(map(repr, names)) or "none"
            raise ValueError(f"{message} Known: {known}.")
        replaced = set(overrides)
        if overrides.get("callbacks") != "disable":
            replaced.discard("callbacks")
        settings = {
            key: copy.deepcopy(value)
            for key, value in cls._recipes[name].items()
            if key.partition("__")[0] not in replaced
        }
        return cls(**(settings | overrides))
