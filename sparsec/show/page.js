// The page that `sparsec show -o FILE.html` writes: draws the mask, listens to pointer and sliders.  Texts of the user
// reach the document as textContent only.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SIDE = 512; // cells along an axis at most; up to as many positions are looked at one by one
  const SAMPLED = 128; // cells along an axis where a cell stands for several positions
  const INSIDE = 6; // positions looked at in such a cell, along an axis
  const COUNTED = 2 ** 26; // pairs that are counted one by one, while nothing else is to be done
  const SLICE = 12; // milliseconds of counting at a time
  const LEAST = 8; // positions that are seen at least
  const CENTRED = 24; // positions that are so wide that their numbers stand at their middles
  const canvas = document.getElementById("mask");
  const pen = canvas.getContext("2d");
  const image = document.createElement("canvas"); // a pixel for each cell
  const names = { ...data.names };
  const call = { ...data.call }; // n_q and q_offset, where they are not those of self-attention
  let view, parts, tile, job = 0;

  const element = (id) => document.getElementById(id);
  const range = (first, last) => Array.from({ length: last - first }, (_, i) => first + i);
  const commas = (x) => x.toLocaleString("en-US");
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  const first = () => call.q_offset ?? 0;
  const height = () => call.n_q ?? names.n;
  const whole = () => ({ q: first(), k: 0, high: height(), wide: names.n });
  const same = (one, other) => Object.keys(one).every((key) => one[key] === other[key]);

  function owner(q, k) {
    return parts.findIndex((part) => part(q, k));
  }

  // The positions looked at in each cell.
  function axis(start, length) {
    if (length <= SIDE) return range(start, start + length).map((x) => [x]);
    return range(0, SAMPLED).map((cell) => {
      const begin = start + Math.floor((cell * length) / SAMPLED);
      const wide = start + Math.floor(((cell + 1) * length) / SAMPLED) - begin;
      return [...new Set(range(0, INSIDE).map((i) => begin + Math.floor(((i + ((i * 0.618) % 1)) * wide) / INSIDE)))];
    });
  }

  // ---------------------------------------------------------------- the mask

  function rgb(text) {
    const number = parseInt(text.slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }

  function draw() {
    const rows = axis(view.q, view.high), columns = axis(view.k, view.wide);
    const ground = rgb(getComputedStyle(document.documentElement).getPropertyValue("--empty").trim());
    const hues = data.colours.map(rgb);
    const pixels = new ImageData(columns.length, rows.length);
    const counts = parts.map(() => 0);
    let seen = 0;
    rows.forEach((queries, row) =>
      columns.forEach((keys, column) => {
        const held = parts.map(() => 0);
        for (const q of queries) {
          for (const k of keys) {
            const part = owner(q, k);
            if (part >= 0) held[part]++;
          }
        }
        const pairs = queries.length * keys.length, kept = sum(held);
        seen += pairs;
        held.forEach((count, part) => (counts[part] += count));
        const hue = hues[held.indexOf(Math.max(...held)) % hues.length];
        const strength = kept ? 0.4 + (0.6 * kept) / pairs : 0;
        const place = 4 * (row * columns.length + column);
        ground.forEach((level, i) => (pixels.data[place + i] = Math.round(level + (hue[i] - level) * strength)));
        pixels.data[place + 3] = 255;
      })
    );
    image.width = columns.length;
    image.height = rows.length;
    image.getContext("2d").putImageData(pixels, 0, 0);
    paint();
    axes();
    tell(counts, seen);
  }

  // As many pixels as the screen has.
  function paint() {
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * dense);
    canvas.height = Math.round(canvas.clientHeight * dense);
    pen.imageSmoothingEnabled = false;
    if (image.width) pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  }

  // The first position, the last, and round ones that stand apart from them, as sparsec/show/ticks.py has them.
  function ticks(start, length, most) {
    const steps = (function* () {
      if (length % 64 === 0 || Number.isInteger(Math.log2(length))) for (let step = 1; ; step *= 2) yield step;
      for (let scale = 1; ; scale *= 10) for (const factor of [1, 2, 5]) yield factor * scale;
    })();
    let step = steps.next().value;
    while (length > step * most) step = steps.next().value;
    const last = start + length - 1, found = [start];
    for (let x = Math.ceil(start / step) * step; x < last; x += step) {
      if (x - start >= step * 0.6 && last - x >= step * 0.6) found.push(x);
    }
    return last > start ? [...found, last] : found;
  }

  function axes() {
    const { q, k, high, wide } = view;
    const label = (axis, side, positions, start, length) =>
      axis.replaceChildren(
        ...positions.map((position) => {
          const mark = document.createElement("span");
          mark.textContent = commas(position);
          const at = position === start ? 0 : position === start + length - 1 ? 1 : 0.5;
          const edge = at !== 0.5 && length > CENTRED; // at the very end, so that the words stay inside
          if (edge) mark.className = at ? "last" : "first";
          mark.style[side] = `${edge ? 100 * at : (100 * (position - start + 0.5)) / length}%`;
          return mark;
        })
      );
    const longest = 7 * commas(k + wide).length + 18;
    label(element("keys"), "left", ticks(k, wide, Math.max(1, Math.floor(canvas.clientWidth / longest))), k, wide);
    label(element("queries"), "top", ticks(q, high, Math.max(1, Math.min(8, Math.floor(canvas.clientHeight / 24)))), q, high);
    const room = document.createElement("i"); // as wide as the labels, which take no room themselves
    room.textContent = commas(Math.max(Math.abs(q), Math.abs(q + high - 1)));
    element("queries").prepend(room);
    element("view").textContent =
      `queries ${q} to ${q + high - 1} down, keys ${k} to ${k + wide - 1} across`;
  }

  // ---------------------------------------------------------------- numbers

  // What the picture has seen; where that is not every pair, all are counted afterwards, or sparsec has done so.
  function tell(counts, seen) {
    const pairs = view.high * view.wide, now = ++job;
    if (seen === pairs) return legend(counts, pairs, "");
    const { known } = data;
    if (known && same(known.names, names) && same(known.view, view)) return legend(known.counts, pairs, "");
    const shares = counts.map((count) => (count / seen) * pairs);
    legend(shares, pairs, pairs <= COUNTED ? "being counted" : "sampled");
    if (pairs <= COUNTED) setTimeout(() => now === job && count(now, parts.map(() => 0), 0), 100);
  }

  function count(now, counts, row) {
    const { q, k, high, wide } = view, end = performance.now() + SLICE;
    try {
      for (; row < high && performance.now() < end; row++) {
        for (let key = k; key < k + wide; key++) {
          const part = owner(q + row, key);
          if (part >= 0) counts[part]++;
        }
      }
    } catch (error) {
      if (error instanceof RangeError) return; // a pair that the picture did not look at; the estimate stays
      throw error;
    }
    if (row === high) legend(counts, high * wide, "");
    else setTimeout(() => now === job && count(now, counts, row));
  }

  // `estimate`: why the counts are about right only; empty where they are exact.
  function legend(counts, pairs, estimate) {
    const about = estimate ? "about " : "";
    const percent = (count) => `${about}${Number(((100 * count) / pairs).toPrecision(3))} %`;
    const shown = data.parts.map((part, index) => [part, index]).filter(([, index]) => counts[index]);
    element("legend").replaceChildren(
      ...shown.map(([part, index]) => {
        const line = document.createElement("div"), swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = data.colours[index % data.colours.length];
        const label = document.createElement("code"), share = document.createElement("span");
        label.textContent = part.label;
        share.textContent = percent(counts[index]);
        line.append(swatch, label, share);
        return line;
      })
    );
    const kept = sum(counts), head = estimate ? "" : `${commas(kept)} of ${commas(pairs)} pairs, `;
    element("total").textContent = `${head}a density of ${percent(kept)}${estimate ? ` (${estimate})` : ""}`;
  }

  // Full, partial or empty: looked at pair by pair.  A tile that hangs over the end is never full.
  function tileClass(q, k) {
    const top = q - ((q - first()) % tile), left = k - (k % tile);
    let kept = 0;
    for (let i = top; i < Math.min(top + tile, first() + height()); i++) {
      for (let j = left; j < Math.min(left + tile, names.n); j++) if (owner(i, j) >= 0) kept++;
    }
    const place = `tile ${Math.floor((q - first()) / tile)}, ${Math.floor(k / tile)}`;
    return `${place}: ${kept === tile * tile ? "full" : kept ? "partial" : "empty"} (${kept} of ${tile * tile} pairs)`;
  }

  // ---------------------------------------------------------------- the pointer

  function position(event) {
    const box = canvas.getBoundingClientRect();
    const along = (x, size, length) => Math.min(length - 1, Math.max(0, Math.floor((x / size) * length)));
    return {
      q: view.q + along(event.clientY - box.top - 1, canvas.clientHeight, view.high),
      k: view.k + along(event.clientX - box.left - 1, canvas.clientWidth, view.wide),
    };
  }

  function hover(event) {
    const { q, k } = position(event);
    const held = data.parts.filter((_, index) => parts[index](q, k)).map((part) => part.label);
    const lines = [`(q, k) = (${q}, ${k})`, held.length ? `in ${held.join(", ")}` : "in no part", tileClass(q, k)];
    element("hover").textContent = lines.join("\n");
  }

  function look(q, k, high, wide) {
    const all = whole();
    const size = (x, most) => Math.max(Math.min(LEAST, most), Math.min(most, Math.round(x)));
    high = size(high, all.high);
    wide = size(wide, all.wide);
    const inside = (x, from, length) => Math.max(from, Math.min(from + length, Math.round(x)));
    view = { q: inside(q, all.q, all.high - high), k: inside(k, 0, all.wide - wide), high, wide };
    guarded(draw);
  }

  function zoom(factor, centre) {
    const size = (x, most) => Math.max(Math.min(LEAST, most), Math.min(most, x * factor));
    const high = size(view.high, height()), wide = size(view.wide, names.n);
    const moved = (x, from, length, before) => x - ((x - from) * length) / before;
    look(moved(centre.q, view.q, high, view.high), moved(centre.k, view.k, wide, view.wide), high, wide);
  }

  // What a value makes wrong is said; the picture before it stays.
  function guarded(work) {
    try {
      work();
      element("error").textContent = "";
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      element("error").textContent = `Not a pattern with these values: ${error.message}.`;
    }
  }

  function rebuild() {
    guarded(() => {
      parts = data.parts.map((part) => sparsec.compile(part.node, names));
    });
    if (element("error").textContent) return;
    look(view.q, view.k, view.high, view.wide);
  }

  function control(name, value, least, most, change) {
    const line = document.createElement("label"), words = document.createElement("span");
    line.className = "control";
    words.textContent = name;
    const inputs = ["range", "number"].map((type) => {
      const input = document.createElement("input");
      Object.assign(input, { type, min: least, max: most, value });
      input.setAttribute("aria-label", name);
      input.dataset.name = name;
      input.addEventListener("input", () => {
        const value = Math.trunc(Number(input.value));
        if (input.value === "" || !(value >= least && value <= most)) return;
        inputs.forEach((other) => other !== input && (other.value = value));
        change(value);
      });
      return input;
    });
    line.append(words, ...inputs);
    element("controls").append(line);
  }

  function bind(values, name, value) {
    const all = same(view, whole());
    values[name] = value;
    if (all) view = whole();
    rebuild();
  }

  view = whole();
  tile = data.tile;
  for (const { name, least, most } of data.controls) {
    const values = name in call ? call : names;
    control(name, values[name], least, most, (value) => bind(values, name, value));
  }
  control("tile size", tile, 1, 256, (value) => (tile = value));
  canvas.style.aspectRatio = `1 / ${Math.max(0.25, Math.min(2, height() / names.n))}`;

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, view };
    canvas.setPointerCapture(event.pointerId);
    guarded(() => hover(event));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const { q, k, high, wide } = held.view;
      const down = ((event.clientY - held.y) * high) / canvas.clientHeight;
      look(q - down, k - ((event.clientX - held.x) * wide) / canvas.clientWidth, high, wide);
    }
    guarded(() => hover(event));
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, position(event));
  });
  const middle = () => ({ q: view.q + view.high / 2, k: view.k + view.wide / 2 });
  element("in").addEventListener("click", () => zoom(0.5, middle()));
  element("out").addEventListener("click", () => zoom(2, middle()));
  element("whole").addEventListener("click", () => ((view = whole()), rebuild()));
  rebuild();
  look(data.view.q, data.view.k, data.view.high, data.view.wide);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => guarded(draw));
  new ResizeObserver(() => (paint(), axes())).observe(canvas);
})();
