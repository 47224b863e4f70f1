// The page that `sparsec show -o FILE.html` writes: draws the mask, listens to mouse and sliders.  Texts of the user
// reach the document as textContent only.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SIDE = 512; // pixels of the canvas along an axis
  const SAMPLED = 128; // cells along an axis where a cell stands for several positions
  const INSIDE = 6; // positions looked at in such a cell, along an axis
  const canvas = document.getElementById("mask");
  const pen = canvas.getContext("2d");
  const names = { ...data.names };
  let view, parts, tile;

  const element = (id) => document.getElementById(id);
  const range = (first, last) => Array.from({ length: last - first }, (_, i) => first + i);
  const commas = (x) => x.toLocaleString("en-US");

  function owner(q, k) {
    return parts.findIndex((part) => part(q, k));
  }

  // The first positions of all cells, and the positions looked at in each.
  function axis(first, length) {
    if (length <= SIDE) return range(first, first + length).map((x) => [x]);
    return range(0, SAMPLED).map((cell) => {
      const start = first + Math.floor((cell * length) / SAMPLED);
      const wide = first + Math.floor(((cell + 1) * length) / SAMPLED) - start;
      return [...new Set(range(0, INSIDE).map((i) => start + Math.floor(((i + ((i * 0.618) % 1)) * wide) / INSIDE)))];
    });
  }

  function draw() {
    const rows = axis(view.q, view.length), columns = axis(view.k, view.length);
    const side = SIDE / rows.length;
    pen.fillStyle = "white";
    pen.fillRect(0, 0, SIDE, SIDE);
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
        const pairs = queries.length * keys.length, kept = held.reduce((a, b) => a + b, 0);
        seen += pairs;
        held.forEach((count, part) => (counts[part] += count));
        if (kept) {
          pen.globalAlpha = 0.4 + (0.6 * kept) / pairs;
          pen.fillStyle = data.colours[held.indexOf(Math.max(...held)) % data.colours.length];
          pen.fillRect(column * side, row * side, side, side);
        }
      })
    );
    pen.globalAlpha = 1;
    legend(counts, seen);
  }

  function legend(counts, seen) {
    const about = view.length > SIDE ? "about " : "";
    const percent = (count) => `${about}${Number(((100 * count) / seen).toPrecision(3))} %`;
    element("legend").replaceChildren(
      ...data.parts.map((part, index) => {
        const line = document.createElement("div"), swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = data.colours[index % data.colours.length];
        line.append(swatch, `${part.label}  ${percent(counts[index])}`);
        return line;
      })
    );
    const kept = counts.reduce((a, b) => a + b, 0);
    const pairs = about ? "" : `${commas(kept)} of ${commas(seen)} pairs, `;
    element("total").textContent = `${pairs}a density of ${percent(kept)}`;
    const last = view.length - 1;
    element("view").textContent =
      `queries ${view.q} to ${view.q + last} down, keys ${view.k} to ${view.k + last} across`;
  }

  // Full, partial or empty: looked at pair by pair.  A tile that hangs over the end is never full.
  function tileClass(q, k) {
    const top = q - (q % tile), left = k - (k % tile);
    let kept = 0;
    for (let i = top; i < Math.min(top + tile, names.n); i++) {
      for (let j = left; j < Math.min(left + tile, names.n); j++) if (owner(i, j) >= 0) kept++;
    }
    const place = `tile ${Math.floor(q / tile)}, ${Math.floor(k / tile)}`;
    return `${place}: ${kept === tile * tile ? "full" : kept ? "partial" : "empty"} (${kept} of ${tile * tile} pairs)`;
  }

  function position(event) {
    const box = canvas.getBoundingClientRect();
    const along = (x, size) => Math.min(view.length - 1, Math.max(0, Math.floor((x / size) * view.length)));
    return {
      q: view.q + along(event.clientY - box.top - 1, SIDE),
      k: view.k + along(event.clientX - box.left - 1, SIDE),
    };
  }

  function hover(event) {
    const { q, k } = position(event);
    const held = data.parts.filter((_, index) => parts[index](q, k)).map((part) => part.label);
    const lines = [`(q, k) = (${q}, ${k})`, held.length ? `in ${held.join(", ")}` : "in no part", tileClass(q, k)];
    element("hover").textContent = lines.join("\n");
  }

  function look(q, k, length) {
    length = Math.max(Math.min(8, names.n), Math.min(names.n, Math.round(length)));
    const inside = (x) => Math.max(0, Math.min(names.n - length, Math.round(x)));
    view = { q: inside(q), k: inside(k), length };
    guarded(draw);
  }

  function zoom(factor, centre) {
    const length = Math.max(8, Math.min(names.n, view.length * factor));
    const moved = (x, first) => x - ((x - first) * length) / view.length;
    look(moved(centre.q, view.q), moved(centre.k, view.k), length);
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
    look(view.q, view.k, view.length);
  }

  function control(name, least, most, change) {
    const label = document.createElement("label");
    const inputs = ["range", "number"].map((type) => {
      const input = document.createElement("input");
      Object.assign(input, { type, min: least, max: most, value: names[name] ?? tile });
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
    label.append(`${name} `, ...inputs);
    element("controls").append(label);
  }

  function bind(name, value) {
    const whole = view.length === names.n;
    names[name] = value;
    if (whole) view = { q: 0, k: 0, length: names.n };
    rebuild();
  }

  view = { q: 0, k: 0, length: names.n };
  tile = data.tile;
  for (const { name, least, most } of data.controls) control(name, least, most, (value) => bind(name, value));
  control("tile size", 1, 256, (value) => (tile = value));

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, view };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => (held = null));
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const step = held.view.length / SIDE;
      const { q, k, length } = held.view;
      look(q - (event.clientY - held.y) * step, k - (event.clientX - held.x) * step, length);
    }
    guarded(() => hover(event));
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, position(event));
  });
  const middle = () => ({ q: view.q + view.length / 2, k: view.k + view.length / 2 });
  element("in").addEventListener("click", () => zoom(0.5, middle()));
  element("out").addEventListener("click", () => zoom(2, middle()));
  element("whole").addEventListener("click", () => look(0, 0, names.n));
  rebuild();
  look(data.view.q, data.view.k, data.view.length);
})();
