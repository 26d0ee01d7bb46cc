"""Index maps: which element of a node is wanted at each position of a loop nest.

A map gives one affine expression of the loop counters for each axis of a *shape*::

    coordinate of an axis  =  offset + sum(coefficient * counter)

A node may be read through a map of any shape with as many elements as its own, both in row-major order: that makes `reshape`
free, and an axis is taken apart (`Space.reshaped`) only when an op asks for the node's own axes. Where an axis falls
between two loops, the loop is divided into two; loops that turn out to belong together are joined again when the kernel is
made. Loops of size 1 do not exist, and the coordinate along an axis of size 1 is always 0, so equal maps are the same object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.ir.node import Node

#: offset, ((loop, coefficient), ...) in order of the loops' numbers.
Coordinate = tuple[int, tuple[tuple[int, int], ...]]
ZERO: Coordinate = (0, ())


class IndexMap:
    """A map of one `Space`; equal maps are the same object. ``mask`` has a bit for each loop it depends on."""

    __slots__ = ("coordinates", "mask", "shape")

    def __init__(self, shape: tuple[int, ...], coordinates: tuple[Coordinate, ...], mask: int) -> None:
        self.shape = shape
        self.coordinates = coordinates
        self.mask = mask

    def __repr__(self) -> str:
        def text(c: Coordinate) -> str:
            terms = [f"{k}*i{loop}" if k != 1 else f"i{loop}" for loop, k in c[1]]
            return " + ".join(([str(c[0])] if c[0] or not terms else []) + terms)

        return f"[{', '.join(text(c) for c in self.coordinates)}] of {list(self.shape)}"


class Linear:
    """A position in memory as a function of the loop counters: ``offset + sum(coefficients[loop] * counter)``."""

    __slots__ = ("coefficients", "offset")

    def __init__(self, offset: int, coefficients: dict[int, int]) -> None:
        self.offset = offset
        self.coefficients = coefficients


class Space:
    """The loops of a kernel: ``kept`` ones, outermost first, and, in a kernel that reduces, the ``reduced`` ones."""

    __slots__ = ("_dead", "_maps", "_parts", "_resolved", "kept", "reduced", "rigid", "sizes")

    def __init__(self, rigid: bool = False) -> None:
        self.sizes: list[int] = []  # by loop number; a divided loop keeps its number and is never used again
        self.kept: list[int] = []
        self.reduced: list[int] | None = None
        self.rigid = rigid  # whether loops must stay as they are
        self._parts: dict[int, tuple[int, int, int]] = {}  # divided loop -> outer loop, inner loop, inner size
        self._dead = 0
        self._maps: dict[tuple, IndexMap] = {}
        self._resolved: dict[IndexMap, IndexMap] = {}

    def loop(self, size: int) -> int:
        """A new loop, not yet among the kept or the reduced ones."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def size(self, loops: Iterable[int]) -> int:
        """The number of positions of some loops together."""
        n = 1
        for loop in loops:
            n *= self.sizes[loop]
        return n

    @property
    def reduced_mask(self) -> int:
        return mask_of(self.reduced) if self.reduced else 0

    def make(self, shape: tuple[int, ...], coordinates: tuple[Coordinate, ...]) -> IndexMap:
        """The map with these coordinates."""
        key = (shape, coordinates)
        found = self._maps.get(key)
        if found is None:
            mask = 0
            for _, terms in coordinates:
                for loop, _ in terms:
                    mask |= 1 << loop
            found = self._maps[key] = IndexMap(shape, coordinates, mask)
        return found

    def natural(self, shape: tuple[int, ...]) -> IndexMap:
        """The identity over new kept loops, one for each axis."""
        coordinates = []
        for n in shape:
            if n == 1:
                coordinates.append(ZERO)
            else:
                loop = self.loop(n)
                self.kept.append(loop)
                coordinates.append((0, ((loop, 1),)))
        return self.make(shape, tuple(coordinates))

    def row_major(self, loops: Sequence[int]) -> IndexMap:
        """The map of one axis that counts the positions of ``loops``, the last one fastest."""
        terms = []
        step = 1
        for loop in reversed(loops):
            terms.append((loop, step))
            step *= self.sizes[loop]
        coordinate = (0, tuple(sorted(terms))) if step != 1 else ZERO
        return self.make((step,), (coordinate,))

    def divide(self, loop: int, inner: int) -> None:
        """Replace a loop by two, the inner one of the given size."""
        assert not self._dead >> loop & 1
        a, b = self.loop(self.sizes[loop] // inner), self.loop(inner)
        self._parts[loop] = (a, b, inner)
        self._dead |= 1 << loop
        self._resolved.clear()
        for loops in (self.kept, self.reduced):
            if loops and loop in loops:
                k = loops.index(loop)
                loops[k : k + 1] = [a, b]

    def resolve(self, m: IndexMap) -> IndexMap:
        """The same map in terms of the loops there are now."""
        if not m.mask & self._dead:
            return m
        found = self._resolved.get(m)
        if found is None:
            now = m
            while now.mask & self._dead:
                now = self.make(now.shape, tuple(self._live(c) for c in now.coordinates))
            found = self._resolved[m] = now
        return found

    def live(self, mask: int) -> int:
        """The loops that now stand for those in ``mask``."""
        while dead := mask & self._dead:
            loop = dead.bit_length() - 1
            a, b, _ = self._parts[loop]
            mask = mask & ~(1 << loop) | 1 << a | 1 << b
        return mask

    def _live(self, c: Coordinate) -> Coordinate:
        terms = []
        for loop, k in c[1]:
            if loop in self._parts:
                a, b, inner = self._parts[loop]
                terms += [(a, k * inner), (b, k)]
            else:
                terms.append((loop, k))
        return c[0], tuple(sorted(terms))

    def linear(self, m: IndexMap, strides: Sequence[int]) -> Linear:
        """The memory position of the element that the map finds, given the strides of its axes."""
        offset = 0
        total: dict[int, int] = {}
        for (start, terms), stride in zip(m.coordinates, strides, strict=True):
            offset += start * stride
            for loop, k in terms:
                total[loop] = total.get(loop, 0) + k * stride
        return Linear(offset, {loop: k for loop, k in total.items() if k})

    def position(self, m: IndexMap) -> Linear:
        """The row-major number of the element that the map finds."""
        return self.linear(m, row_major_strides(m.shape))

    def covers(self, m: IndexMap, loops: Sequence[int]) -> bool:
        """Whether, as the given loops run, the map finds every element of its shape exactly once."""
        linear = self.linear(m, row_major_strides(m.shape))
        if linear.offset or len(linear.coefficients) != len(loops):
            return False
        step = 1
        for k, loop in sorted((k, loop) for loop, k in linear.coefficients.items()):
            if k != step or loop not in loops:
                return False
            step *= self.sizes[loop]
        n = 1
        for s in m.shape:
            n *= s
        return step == n

    def reshaped(self, m: IndexMap, shape: tuple[int, ...]) -> IndexMap | None:
        """The map in terms of other axes of the same row-major elements; None where its loops cannot say it.

        May divide loops. Divided or not, maps made before are brought up to date by `resolve`, this one here too: another
        reader of the same node may have divided its loops a moment ago.
        """
        m = self.resolve(m)
        if m.shape == shape:
            return m
        wide = [n for n in shape if n != 1]
        if wide == [n for n in m.shape if n != 1]:
            given = iter([c for c, n in zip(m.coordinates, m.shape, strict=True) if n != 1])
            return self.make(shape, tuple(ZERO if n == 1 else next(given) for n in shape))
        while True:
            done = self._split(self.position(m), shape)
            if not isinstance(done, tuple):
                return done
            if self.rigid:
                return None
            self.divide(*done)
            m = self.resolve(m)

    def _split(self, linear: Linear, shape: tuple[int, ...]) -> IndexMap | tuple[int, int] | None:
        """Take a row-major number apart into axes; or say which loop to divide first, and where."""
        offset = linear.offset
        rest = linear.coefficients
        strides = row_major_strides(shape)
        coordinates: list[Coordinate] = []
        for n, stride in zip(shape, strides, strict=True):
            if n == 1:
                coordinates.append(ZERO)
                continue
            start, offset = divmod(offset, stride)
            terms = []
            left = {}
            low = high = offset
            for loop, k in rest.items():
                q = abs(k) // stride * (1 if k > 0 else -1)
                r = k - q * stride
                if q:
                    terms.append((loop, q))
                if r:
                    left[loop] = r
                    reach = r * (self.sizes[loop] - 1)
                    low, high = (low, high + reach) if reach > 0 else (low + reach, high)
            if low < 0 or high >= stride:
                return self._division(left, stride)
            rest = left
            coordinates.append((start, tuple(sorted(terms))))
        return self.make(shape, tuple(coordinates))

    def _division(self, left: dict[int, int], stride: int) -> tuple[int, int] | None:
        for loop, k in left.items():
            k = abs(k)
            n = self.sizes[loop]
            if k * (n - 1) >= stride and stride % k == 0 and n % (stride // k) == 0:
                return loop, stride // k
        return None


def mask_of(loops: Iterable[int]) -> int:
    """The loops as bits."""
    mask = 0
    for loop in loops:
        mask |= 1 << loop
    return mask


def row_major_strides(shape: Sequence[int]) -> list[int]:
    """Row-major strides, in elements."""
    strides = [1] * len(shape)
    step = 1
    for d in range(len(shape) - 1, -1, -1):
        strides[d] = step
        step *= shape[d]
    return strides


def is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a layout holds its elements in row-major order without gaps."""
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


def through(node: Node, m: IndexMap, space: Space) -> IndexMap | None:
    """The map by which a movement node's operand is read where the node is read by ``m``.

    None where the loops cannot say it; the node must then have memory of its own.
    """
    x = node.inputs[0]
    op = node.op
    if op == "reshape":
        return m
    now = space.reshaped(m, node.shape)
    if now is None:
        return None
    if op == "expand":
        return space.make(x.shape, tuple(ZERO if n == 1 else c for n, c in zip(x.shape, now.coordinates, strict=True)))
    if op == "permute":
        back: list[Coordinate] = [ZERO] * len(x.shape)
        for c, p in zip(now.coordinates, node.attrs[0], strict=True):
            back[p] = c
        return space.make(x.shape, tuple(back))
    if op == "slice":
        coordinates = []
        for (start, terms), n, a, k in zip(now.coordinates, x.shape, node.attrs[0], node.attrs[1], strict=True):
            coordinates.append(ZERO if n == 1 else (a + k * start, tuple((loop, c * k) for loop, c in terms)))
        return space.make(x.shape, tuple(coordinates))
    if op == "as_strided":
        linear = space.linear(now, node.attrs[1])
        n = x.size
        terms = tuple(sorted(linear.coefficients.items()))
        return space.make((n,), ((linear.offset + node.attrs[0], terms) if n != 1 else ZERO,))
    raise NotImplementedError(f"{op} is not a movement that the scheduler knows.")
