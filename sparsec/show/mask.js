// What a pattern means, for a browser: the evaluator of open nodes (sparsec/lower/symbolic.py) and of random choices
// (sparsec/ir/random.py).  Integers are doubles that hold every integer below 2 ** 53; what would leave them is refused.
"use strict";

const sparsec = (() => {
  const exact = (x) => {
    if (!Number.isSafeInteger(x)) throw new RangeError("a number grows beyond 2 ** 53");
    return x;
  };

  const divisor = (x) => {
    if (x < 1) throw new RangeError(`a divisor or modulus is ${x}`);
    return x;
  };

  // Math.floor(a / b) is wrong where the quotient is rounded up to an integer; the remainder is always exact.
  const modulo = (a, b) => ((a % b) + b) % b;

  const INTEGERS = {
    "+": (a, b) => exact(a + b),
    "-": (a, b) => exact(a - b),
    "*": (a, b) => exact(a * b),
    "//": (a, b) => (a - modulo(a, divisor(b))) / b,
    "%": (a, b) => modulo(a, divisor(b)),
    "**": (a, b) => {
      if (b < 0) throw new RangeError(`an exponent is ${b}`);
      return exact(a ** b);
    },
    min: Math.min,
    max: Math.max,
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    "==": (a, b) => a === b,
    "!=": (a, b) => a !== b,
    ">=": (a, b) => a >= b,
    ">": (a, b) => a > b,
  };

  function mix(x) {
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }

  // (bits * m) >> 32, whose product can have 63 bits: the halves of `bits` are multiplied apart.
  function below(bits, m) {
    const low = (bits & 0xffff) * m;
    return Math.floor(((bits >>> 16) * m + Math.floor(low / 65536)) / 65536);
  }

  // min(count, limit) distinct numbers below `limit`, by R. Floyd's algorithm.
  function distinct(count, seed, row, limit) {
    const start = mix((mix((seed + 0x9e3779b9) | 0) + row) | 0);
    const taken = Math.min(count, limit);
    const chosen = new Set();
    for (let step = 0; step < taken; step++) {
      const last = limit - taken + step;
      const drawn = below(mix((start + step) | 0), last + 1);
      chosen.add(chosen.has(drawn) ? last : drawn);
    }
    return chosen;
  }

  function size(x, least, most) {
    if (x < least || x > most) throw new RangeError(`a size, count or seed is ${x}`);
    return x;
  }

  // Whether query q draws key k of n; each row is drawn once.
  function random(width, count, seed, past) {
    const rows = new Map();
    return (q, k, n) => {
      const row = Math.floor(q / width);
      if (!rows.has(row)) rows.set(row, distinct(count, seed, row, past ? row + 1 : Math.ceil(n / width)));
      return rows.get(row).has(Math.floor(k / width));
    };
  }

  // A node as a function of (q, k).  `names` binds n, parameters, and h, H, layer, L where they occur.
  function compile(node, names) {
    const [word, ...rest] = node;
    const positions = { q: (q) => q, k: (_, k) => k };
    const constant = (part) => compile(part, names)(0, 0);
    switch (word) {
      case "number":
        return () => rest[0];
      case "name": {
        if (Object.hasOwn(names, rest[0])) {
          const value = names[rest[0]];
          return () => value;
        }
        return positions[rest[0]];
      }
      case "&": {
        const parts = rest.map((part) => compile(part, names));
        return (q, k) => parts.every((part) => part(q, k));
      }
      case "|": {
        const parts = rest.map((part) => compile(part, names));
        return (q, k) => parts.some((part) => part(q, k));
      }
      case "~": {
        const part = compile(rest[0], names);
        return (q, k) => !part(q, k);
      }
      case "abs": {
        const part = compile(rest[0], names);
        return (q, k) => Math.abs(part(q, k));
      }
      case "in": {
        const [value, ...members] = rest.map((part) => compile(part, names));
        return (q, k) => {
          const x = value(q, k);
          return members.some((member) => member(q, k) === x);
        };
      }
      case "match": {
        const value = constant(rest[0]);
        const takes = (ranges) => ranges.some(([first, last]) => constant(first) <= value && value < constant(last));
        const arm = rest.slice(1).find(([ranges]) => takes(ranges)) ?? rest.slice(1).find(([ranges]) => !ranges.length);
        if (!arm) throw new RangeError(`no arm of a match takes ${value}`);
        return compile(arm[1], names);
      }
      case "blocks": {
        const width = size(constant(rest[0]), 1, 2147483647);
        const rows = rest[1].map((row) => new Set(row.map((block) => size(Array.isArray(block) ? constant(block) : block, 0, 2147483647))));
        return (q, k) => rows[Math.floor(q / width)]?.has(Math.floor(k / width)) ?? false;
      }
      case "random_keys": {
        const drawn = random(1, size(constant(rest[0]), 1, 65536), size(constant(rest[1]), 0, 2147483647), false);
        return (q, k) => drawn(q, k, names.n);
      }
      case "random_blocks":
      case "random_past_blocks": {
        const [width, count, seed] = rest.map(constant);
        size(width, 1, 2147483647);
        const drawn = random(width, size(count, 1, 65536), size(seed, 0, 2147483647), word === "random_past_blocks");
        return (q, k) => drawn(q, k, names.n);
      }
    }
    const [left, right] = rest.map((part) => compile(part, names));
    if (right === undefined) return (q, k) => exact(-left(q, k));
    const operation = INTEGERS[word];
    return (q, k) => operation(left(q, k), right(q, k));
  }

  return { compile, distinct };
})();

if (typeof module !== "undefined") module.exports = sparsec;
