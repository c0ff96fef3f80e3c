"""A mesh while its triangles are cut, merged and turned: all channels change together, many edges at a time.

Edges that change in one go touch no common triangle, so the result does not depend on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.geometry.measures import face_normals
from lab.geometry.mesh import UNSET, DynamicMesh, Flags, Floats, Integers, Overlay
from lab.geometry.operations.channels import find_seams, join_channels, split_channels
from lab.geometry.operations.splitting import SPLITS, patterns, with_middles
from lab.geometry.topology import Edges, face_vectors, require_triangles

FREE, LINE, FIXED = 0, 1, 2
"""Where a vertex may go: anywhere, along the feature line that it is on, or nowhere."""


@dataclass
class WorkingMesh:
    """Channels of a mesh, to be changed.

    Attributes:
        values: (E, D) of each channel, positions first.
        corners: (F, 3) of each channel; those of positions are the triangles.
        source: (F,) the triangle of the mesh that each came from.
        like: the mesh at the start.
    """

    values: list[Floats]
    corners: list[Integers]
    source: Integers
    like: DynamicMesh

    @classmethod
    def of(cls, mesh: DynamicMesh) -> WorkingMesh:
        """Return the channels of a mesh, copied.

        Raises:
            GeometryError: it has no triangles.
        """
        require_triangles(mesh)
        channels = split_channels(mesh)
        values, corners = [one.elements.copy() for one in channels], [one.corners.copy() for one in channels]
        return cls(values, corners, np.arange(mesh.num_triangles), mesh)

    def mesh(self) -> DynamicMesh:
        """Return the mesh as it now is, without what no triangle uses."""
        return join_channels(self.like, list(map(Overlay, self.values, self.corners)), self.source)

    @cached_property
    def _normals(self) -> Floats:
        """(F, 3) of the triangles at the start."""
        return face_normals(self.like)

    @property
    def positions(self) -> Floats:
        """(V, 3)."""
        return self.values[0]

    @property
    def triangles(self) -> Integers:
        """(F, 3)."""
        return self.corners[0]

    def features(self, edges: Edges, keep: str = "all") -> Flags:
        """Return (E,) the edges to be kept.

        Args:
            edges: of the triangles.
            keep: ``all``: borders, edges between polygroups or slots, UV seams; ``borders``; ``none``: only edges that
                are not of two triangles.
        """
        found = ~edges.inner
        if keep != "all":
            return found
        left, right = edges.halves[:, 0] // 3, edges.halves[:, 1] // 3
        for labels in (self.like.polygroups[self.source], self.like.slots[self.source]):
            found = found | (labels[left] != labels[right])
        first = 1 if self.like.normals is None else 2
        for corners, values in zip(self.corners[first:], self.values[first:], strict=True):
            found = found | find_seams(edges.halves, Overlay(values, corners))
        return found

    def freedom(self, edges: Edges, features: Flags) -> Integers:
        """Return (V,) ``FREE``, ``LINE`` or ``FIXED``; vertices of edges of more than two triangles are fixed."""
        degree = np.bincount(edges.vertices[features].ravel(), minlength=len(self.positions))
        result = np.where(degree == 0, FREE, np.where(degree == 2, LINE, FIXED))
        result[edges.vertices[~edges.inner & (edges.count != 1)]] = FIXED
        return result

    def split(self, marks: Flags) -> None:
        """Cut the edges (F, 3) that are marked, in both of their triangles, at their middle.

        A new vertex stands at V + the place of its edge among the marked ones in the order of ``find_edges``.
        """
        kinds_of, diagonals = patterns(marks, self._long_diagonal(marks))
        rows = [np.flatnonzero(kinds_of == kind) for kind in range(8)]
        kinds = [(rows[kind], SPLITS[kind, flag]) for kind in range(8) for flag in (0, 1)]
        parts = [(chosen[diagonals[chosen] == (i % 2)], table) for i, (chosen, table) in enumerate(kinds)]
        parts = [(chosen, table) for chosen, table in parts if len(chosen)]
        for channel, corners in enumerate(self.corners):
            nodes, self.values[channel] = with_middles(corners, self.values[channel], marks)
            self.corners[channel] = np.concatenate([nodes[chosen][:, table].reshape(-1, 3) for chosen, table in parts])
        self.source = np.concatenate([np.repeat(self.source[chosen], len(table)) for chosen, table in parts])

    def _long_diagonal(self, marks: Flags) -> Integers:
        """Return (F,) for triangles with one unmarked edge k, 1 where the diagonal from corner k is the longer one."""
        plain = (~marks).argmax(axis=1)
        rows = np.arange(len(marks))
        a, b, c = (self.positions[self.triangles[rows, (plain + k) % 3]] for k in range(3))
        first = ((a - (b + c) / 2) ** 2).sum(axis=1)
        return (first > ((b - (c + a) / 2) ** 2).sum(axis=1)).astype(np.int64)

    def collapse(
        self,
        edges: Edges,
        features: Flags,
        chosen: Integers,
        kept: Integers,
        targets: Floats,
        most: int,
        least_cosine: float = 0.2,
    ) -> Integers:
        """Merge the ends of edges that can be, and return the places in ``chosen`` of those that were.

        Not merged are edges whose neighbourhood would fold (the link condition), whose triangles would turn over, or
        that touch triangles of an edge that comes before them.

        Args:
            edges: of the triangles.
            features: (E,) edges whose lines must stay lines.
            chosen: (K,) edges, the most wanted first.
            kept: (K,) which end stays, as a vertex number; the other end is merged into it.
            targets: (K, 3) where it goes.
            most: how many to merge at most.
            least_cosine: between a triangle's normals before and after.
        """
        places = np.flatnonzero(self._can_merge(edges, features, chosen))
        around = self._incidence()
        unknown, good = True, np.zeros(len(chosen), dtype=bool)
        while unknown:  # what turns over makes room for others
            picked = places[self._independent(edges.vertices[chosen[places]])]
            asked = picked[~good[picked]]
            wrong = asked[self._turns_over(edges.vertices[chosen[asked]], targets[asked], around, least_cosine)]
            good[asked] = True
            unknown = len(wrong) > 0
            places = places[~np.isin(places, wrong)]
        places = picked[:most]
        if len(places):
            self._merge(edges, chosen[places], kept[places], targets[places])
        return places

    def _can_merge(self, edges: Edges, features: Flags, chosen: Integers) -> Flags:
        from scipy.sparse import coo_matrix

        count = len(self.positions)
        low, high = edges.vertices.T
        both = np.concatenate([low, high]), np.concatenate([high, low])
        adjacent = coo_matrix((np.ones(2 * len(low), dtype=np.int32), both), shape=(count, count)).tocsr()
        first, second = edges.vertices[chosen].T
        common = np.asarray(adjacent[first].multiply(adjacent[second]).sum(axis=1)).ravel()
        fine = np.asarray(common == edges.count[chosen])
        fine &= edges.inner[chosen] | (edges.count[chosen] == 1)
        at_border = np.zeros(count, dtype=bool)
        at_border[edges.vertices[edges.count == 1]] = True
        fine &= ~(edges.inner[chosen] & at_border[first] & at_border[second])
        valence = np.bincount(edges.vertices.ravel(), minlength=count)
        marked = np.zeros(self.triangles.size, dtype=bool)
        marked[:] = features[edges.of_triangle.ravel()]
        for side in range(2):
            half = edges.halves[chosen, side]
            there = half >= 0
            triangle, k = np.divmod(half, 3)
            apex = self.triangles[triangle, (k + 2) % 3]
            fine &= ~there | (valence[apex] > np.where(at_border[apex], 2, 3))
            lines = marked[3 * triangle + (k + 1) % 3] & marked[3 * triangle + (k + 2) % 3]
            fine &= ~(there & lines)  # two lines would become one
        return fine

    def _turns_over(
        self, pairs: Integers, targets: Floats, around: tuple[Integers, Integers], least_cosine: float
    ) -> Flags:
        """Return (K,) whether a triangle around merged pairs (K, 2) would turn over or lose its area.

        A triangle turns over where its normal leaves the old one, or faces away from where it faced at the start.
        """
        order, starts = around
        bad = np.zeros(len(pairs), dtype=bool)
        for side in range(2):
            counts = starts[pairs[:, side] + 1] - starts[pairs[:, side]]
            row = np.repeat(np.arange(len(pairs)), counts)
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            triangle = order[starts[pairs[row, side]] + within] // 3
            corner = order[starts[pairs[row, side]] + within] % 3
            vertices = self.triangles[triangle]
            stays = (vertices != pairs[row, 1 - side, None]).all(axis=1)
            row, triangle, corner, vertices = row[stays], triangle[stays], corner[stays], vertices[stays]
            before = self.positions[vertices]
            after = before.copy()
            after[np.arange(len(row)), corner] = targets[row]
            whole = np.arange(3 * len(row)).reshape(-1, 3)
            old, new = face_vectors(before.reshape(-1, 3), whole), face_vectors(after.reshape(-1, 3), whole)
            size = np.linalg.norm(new, axis=1)
            sides = after - after[:, [2, 0, 1]]
            longest = np.einsum("rkd,rkd->rk", sides, sides).max(axis=1)
            against = np.einsum("rd,rd->r", self._normals[self.source[triangle]], new) < 0
            turned = against | (np.einsum("rd,rd->r", old, new) < least_cosine * np.linalg.norm(old, axis=1) * size)
            wrong = (turned | (size < 1e-5 * longest)) & (np.linalg.norm(old, axis=1) > 0)
            bad |= np.bincount(row[wrong], minlength=len(pairs)) > 0
        return bad

    def _incidence(self) -> tuple[Integers, Integers]:
        """Return corners, as 3 f + k, ordered by their vertex, and (V + 1,) where those of each vertex begin."""
        flat = self.triangles.ravel()
        starts = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=len(self.positions)))])
        return np.argsort(flat, kind="stable"), starts

    def _independent(self, pairs: Integers) -> Flags:
        """Return (K,) which pairs of vertices touch no triangle that an earlier pair touches."""
        count = len(pairs)
        rank = np.full(len(self.positions), count, dtype=np.int64)
        numbers = np.arange(count)
        for side in range(2):
            np.minimum.at(rank, pairs[:, side], numbers)
        least = rank[self.triangles].min(axis=1)
        around = np.full(len(self.positions), count, dtype=np.int64)
        for k in range(3):
            np.minimum.at(around, self.triangles[:, k], least)
        return np.asarray((around[pairs] == numbers[:, None]).all(axis=1))

    def _merge(self, edges: Edges, chosen: Integers, kept: Integers, targets: Floats) -> None:
        low, high = edges.vertices[chosen].T
        gone = np.where(kept == low, high, low)
        way = self.positions[gone] - self.positions[kept]
        length = np.maximum((way**2).sum(axis=1), np.finfo(float).tiny)
        share = np.clip(((targets - self.positions[kept]) * way).sum(axis=1) / length, 0, 1)[:, None]
        for channel in range(1, len(self.corners)):
            corners, values = self.corners[channel], self.values[channel]
            names = np.arange(len(values) + 1)  # the last is UNSET
            for side in range(2):
                half = edges.halves[chosen, side]
                rows = np.flatnonzero(half >= 0)
                triangle, k = np.divmod(half[rows], 3)
                tail_kept = self.triangles[triangle, k] == kept[rows]
                stays = corners[triangle, np.where(tail_kept, k, (k + 1) % 3)]
                goes = corners[triangle, np.where(tail_kept, (k + 1) % 3, k)]
                known = (stays >= 0) & (goes >= 0) & (names[goes] == goes) & (stays != goes)
                stays, goes, part = stays[known], goes[known], share[rows[known]]
                values[stays] = (1 - part) * values[stays] + part * values[goes]
                names[goes] = stays
            names[-1] = UNSET
            self.corners[channel] = names[corners]
        self.positions[kept] = targets
        names = np.arange(len(self.positions))
        names[gone] = kept
        self.corners[0] = names[self.triangles]
        lost = np.zeros(len(self.triangles), dtype=bool)
        halves = edges.halves[chosen]
        lost[halves[halves >= 0] // 3] = True
        self.corners = [corners[~lost] for corners in self.corners]
        self.source = self.source[~lost]

    def flip(self, edges: Edges, chosen: Integers) -> Integers:
        """Turn inner edges to the other diagonal of their two triangles; return the places in ``chosen`` turned.

        Both triangles keep their polygroups and slots, so edges between those must not be chosen, nor seams.

        Args:
            edges: of the triangles.
            chosen: (K,) edges, the most wanted first.
        """
        triangle, k = np.divmod(edges.halves[chosen], 3)
        tail = self.triangles[triangle[:, 0], k[:, 0]]
        head = self.triangles[triangle[:, 0], (k[:, 0] + 1) % 3]
        left = self.triangles[triangle[:, 0], (k[:, 0] + 2) % 3]
        right = self.triangles[triangle[:, 1], (k[:, 1] + 2) % 3]
        width = len(self.positions)
        known = edges.vertices[:, 0] * width + edges.vertices[:, 1]
        fine = ~np.isin(np.minimum(left, right) * width + np.maximum(left, right), known) & (left != right)
        places = self.positions
        old = _normal(places, tail, head, left) + _normal(places, head, tail, right)
        longest = ((places[left] - places[right]) ** 2).sum(axis=1)
        for end, apex, other in ((head, left, right), (tail, right, left)):
            new = _normal(places, apex, other, end)
            size = np.linalg.norm(new, axis=1)
            fine &= (new * old).sum(axis=1) > 0.5 * size * np.linalg.norm(old, axis=1)
            fine &= size > 0.05 * longest
        wanted = np.flatnonzero(fine)
        owner = np.full(len(self.triangles), len(chosen), dtype=np.int64)
        for side in range(2):
            np.minimum.at(owner, triangle[wanted, side], wanted)
        wanted = wanted[(owner[triangle[wanted]] == wanted[:, None]).all(axis=1)]
        one, other = triangle[wanted].T
        k, j = k[wanted].T
        for corners in self.corners:
            of_left, of_right = corners[one, (k + 2) % 3], corners[other, (j + 2) % 3]
            of_head, of_tail = corners[one, (k + 1) % 3], corners[one, k]
            corners[one] = np.stack([of_left, of_right, of_head], axis=1)
            corners[other] = np.stack([of_right, of_left, of_tail], axis=1)
        return wanted


def _normal(positions: Floats, a: Integers, b: Integers, c: Integers) -> Floats:
    return np.asarray(np.cross(positions[b] - positions[a], positions[c] - positions[a]))
