
"use strict";
// A picture of the scan with its cut lines and points: drawn in millimetres, told in pixels (row, column).

const SVG = "http://www.w3.org/2000/svg";
const REACH_PX = 14; // on the screen: how near the pointer has to be to take a point
const LETTER_MM = 10; // of a point's name, at the most

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children); // what comes from a folder becomes text, whatever it looks like
  return made;
}

const bytes = text => Uint8Array.from(atob(text), each => each.charCodeAt(0));
const words = name => name.replaceAll("_", " ");

class Picture {
  // about: of the server; scan: its state; kind: of the picture shown first; keyboard: Tab reaches its points;
  // on: {move(name, point), drop(), chose(name), hover(point)}
  constructor(about, scan, kind, keyboard, on) {
    Object.assign(this, { about, scan, on });
    [this.rows, this.columns] = scan.image_shape;
    [this.rowMm, this.columnMm] = scan.pixel_spacing_mm;
    const [width, height] = [this.columns * this.columnMm, this.rows * this.rowMm];
    this.select = html("select", { "aria-label": "What the picture shows" });
    this.select.append(...Object.keys(scan.pictures).map(each => html("option", {}, each)));
    this.select.value = kind;
    this.select.addEventListener("change", () => this.paint());
    this.canvas = html("canvas", { width: this.columns, height: this.rows, "aria-hidden": "true" });
    this.regions = svg("g");
    this.lines = about.lines.map(() => svg("line", { class: "cut" }));
    this.points = new Map(about.points.map(name => [name, this.makePoint(name, keyboard)]));
    this.front = svg("text", { class: "front" }); // the chosen point's name, over all others
    const polygons = Object.values(scan.polygons).map(points => svg("polygon", { class: "polygon", points: points.map(each => this.place(each).join()).join(" ") }));
    this.svg = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, this.regions, ...polygons, ...this.lines, ...this.points.values(), this.front);
    if (keyboard) {
      this.svg.setAttribute("role", "group");
      this.svg.setAttribute("aria-label", "Points; arrow keys move the chosen one");
    } else this.svg.setAttribute("aria-hidden", "true");
    this.frame = html("div", { class: "picture" }, this.canvas, this.svg);
    this.figure = html("figure", {}, html("figcaption", {}, this.select), this.frame);
    this.listen();
    this.paint();
  }

  makePoint(name, keyboard) {
    const label = svg("text", {}, words(name));
    const point = svg("g", { class: "point", "data-name": name }, svg("circle", { r: 8 }), label);
    if (!keyboard) return point;
    point.setAttribute("tabindex", "0");
    point.setAttribute("role", "img");
    point.setAttribute("aria-roledescription", "movable point");
    point.addEventListener("focus", () => this.on.chose(name));
    return point;
  }

  // millimetres from the upper left corner of the image; centres of pixels are at whole numbers
  place([row, column]) { return [(column + 0.5) * this.columnMm, (row + 0.5) * this.rowMm]; }

  resize(heightPx) {
    this.frame.style.height = `${heightPx}px`;
    this.frame.style.width = `${heightPx * this.columns * this.columnMm / (this.rows * this.rowMm)}px`;
  }

  paint() {
    const grey = bytes(this.scan.pictures[this.select.value]);
    const image = new ImageData(this.columns, this.rows);
    grey.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  show(points, chosen) {
    for (const [name, point] of this.points) {
      const [row, column] = points[name];
      point.setAttribute("transform", `translate(${this.place(points[name]).join()})`);
      point.setAttribute("aria-label", `${words(name)}, row ${row.toFixed(2)}, column ${column.toFixed(2)}`);
      point.classList.toggle("chosen", name === chosen);
      this.putLabel(name, point.lastChild, this.place(points[name])[0]);
    }
    this.front.textContent = chosen ? words(chosen) : "";
    if (chosen) {
      const label = this.points.get(chosen).lastChild;
      for (const key of ["x", "y", "text-anchor"]) this.front.setAttribute(key, label.getAttribute(key));
      this.front.setAttribute("transform", this.points.get(chosen).getAttribute("transform"));
    }
    this.about.lines.forEach(([first, second], index) => {
      const [[x1, y1], [x2, y2]] = [this.place(points[first]), this.place(points[second])];
      for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) this.lines[index].setAttribute(key, value);
    });
  }

  // outwards of its point, unless it would be cut off there; that of the spine away from its neighbours'
  putLabel(name, label, x) {
    const room = name.startsWith("right") ? x : this.columns * this.columnMm - x;
    const right = name.startsWith("right") === room > LETTER_MM * name.length;
    const y = name.endsWith("spine_upper") ? -14 : name.endsWith("spine_lower") ? 30 : 7;
    for (const [key, value] of Object.entries({ x: right ? -14 : 14, y, "text-anchor": right ? "end" : "start" })) label.setAttribute(key, value);
  }

  // outlines of the regions along the edges of pixels
  outline(map) {
    const codes = bytes(map);
    const at = (row, column) => row < 0 || column < 0 || row >= this.rows || column >= this.columns ? 0 : codes[row * this.columns + column];
    const paths = new Map(this.about.regions.map(region => [region.code, []]));
    for (let row = 0; row < this.rows; row++) for (let column = 0; column < this.columns; column++) {
      const path = paths.get(at(row, column));
      if (!path) continue;
      const [x, y, dx, dy] = [column * this.columnMm, row * this.rowMm, this.columnMm, this.rowMm];
      const differs = (down, across) => at(row + down, column + across) !== at(row, column);
      if (differs(-1, 0)) path.push(`M${x} ${y}h${dx}`);
      if (differs(1, 0)) path.push(`M${x} ${y + dy}h${dx}`);
      if (differs(0, -1)) path.push(`M${x} ${y}v${dy}`);
      if (differs(0, 1)) path.push(`M${x + dx} ${y}v${dy}`);
    }
    this.regions.replaceChildren(...this.about.regions.map(region => svg("path", { class: "outline", stroke: region.colour, d: paths.get(region.code).join("") || "M0 0" })));
  }

  pixel(event) {
    const box = this.svg.getBoundingClientRect();
    const row = (event.clientY - box.top) / box.height * this.rows - 0.5;
    const column = (event.clientX - box.left) / box.width * this.columns - 0.5;
    return inside([row, column], this.scan.image_shape);
  }

  nearest(event) {
    let found = null, least = REACH_PX;
    for (const [name, point] of this.points) {
      const box = point.firstChild.getBoundingClientRect();
      const far = Math.hypot(event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
      if (far < least) [found, least] = [name, far];
    }
    return found;
  }

  listen() {
    let dragged = null;
    this.svg.addEventListener("pointerdown", event => {
      dragged = event.button === 0 ? this.nearest(event) : null;
      if (!dragged) return;
      event.preventDefault();
      this.svg.setPointerCapture(event.pointerId);
      this.on.chose(dragged, true);
    });
    this.svg.addEventListener("pointermove", event => {
      this.on.hover(this.pixel(event));
      if (dragged) return this.on.move(dragged, this.pixel(event));
      const near = this.nearest(event);
      for (const [name, point] of this.points) point.classList.toggle("near", name === near);
      this.svg.style.cursor = near ? "grab" : "";
    });
    const end = event => {
      if (!dragged) return;
      const [name, kept] = [dragged, event.type === "pointerup"];
      dragged = null;
      this.on.drop(name, kept);
    };
    this.svg.addEventListener("pointerup", end);
    this.svg.addEventListener("pointercancel", end);
    this.svg.addEventListener("pointerleave", () => this.on.hover(null));
  }
}

function inside([row, column], [rows, columns]) {
  const within = (value, size) => Math.round(1000 * Math.min(Math.max(value, -0.5), size - 0.5)) / 1000;
  return [within(row, rows), within(column, columns)];
}
