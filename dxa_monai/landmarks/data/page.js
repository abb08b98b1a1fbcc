
"use strict";
// The list of scans, what is done to the points of one of them, and the numbers that follow.

const STEP = 0.25, FAR = 2; // pixels that an arrow key moves a point by, without and with Shift
const WAIT_MS = 250; // after the last arrow key, until the numbers are asked for
const MOST_LISTED = 300; // scans at a time
const $ = id => document.getElementById(id);
const scans = new Map(); // those that were opened, by their number
let about = null, current = null, chosen = null, pictures = [], asked = 0, opening = 0;

async function ask(path, content) {
  const options = content === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) };
  let answer, told;
  try {
    answer = await fetch(path, options);
    told = await answer.json();
  } catch {
    throw new Error("The server does not answer: it has ended in its terminal. What is not saved is still here.");
  }
  if (!answer.ok) throw new Error(told.error);
  return told;
}

const same = (first, second) => Boolean(first && second) && about.points.every(name => first[name][0] === second[name][0] && first[name][1] === second[name][1]);
const copy = points => structuredClone(points);
const unsaved = scan => !same(scan.points, scan.saved ?? scan.begun);

function listScans() {
  const wanted = $("filter").value.toLowerCase();
  const found = about.scans.map((each, number) => [each, number]).filter(([each]) => `${each.scan_id} ${each.flags.join(" ")}`.toLowerCase().includes(wanted));
  $("more").textContent = found.length > MOST_LISTED ? `and ${found.length - MOST_LISTED} more: find them above` : "";
  $("scans").replaceChildren(...found.slice(0, MOST_LISTED).map(([each, number]) => {
    const name = html("span", {}, each.scan_id);
    const notes = [...each.flags, ...(each.by_hand ? ["by hand"] : [])].join(", ");
    const button = html("button", { type: "button", "data-number": number }, name, html("small", each.fatal ? { class: "fatal" } : {}, notes));
    if (number === current) button.setAttribute("aria-current", "true");
    if (scans.has(number) && unsaved(scans.get(number))) name.className = "unsaved";
    button.addEventListener("click", () => open(number));
    return html("li", {}, button);
  }));
}

async function open(number) {
  settle();
  const mine = ++opening;
  let scan = scans.get(number), sentence = "";
  const kept = scan && unsaved(scan);
  if (!kept) try {
    $("status").textContent = `Reading ${about.scans[number].scan_id}`;
    scan = await ask(`scans/${number}`);
    Object.assign(scan, { undone: [], done: [], problem: "", begun: copy(scan.points) });
    scans.set(number, scan);
  } catch (error) { [scan, sentence] = [null, error.message]; }
  if (mine !== opening) return;
  [current, chosen] = [number, null];
  asked++;
  $("status").textContent = "";
  $("title").textContent = about.scans[number].scan_id;
  const on = { move, drop, chose, hover };
  pictures = scan ? [new Picture(about, scan, "low energy", true, on), new Picture(about, scan, "bone mineral", false, on)] : [];
  $("pictures").replaceChildren(...pictures.map(each => each.figure));
  for (const id of ["regions", "indices", "points"]) $(id).hidden = !scan;
  $("flags").replaceChildren();
  $("problem").textContent = sentence;
  if (scan) {
    resize();
    showPoints();
    showNumbers();
    if (scan.remark) $("problem").textContent = `The landmarks of the folder cannot be read: ${scan.remark}`;
  }
  listScans();
  showTools();
  if (kept) recompute();
}

function chose(name, focus = false) {
  chosen = name;
  if (focus) pictures[0].points.get(name).focus({ preventScroll: true });
  showPoints();
}

function move(name, point) {
  const scan = scans.get(current);
  scan.from ??= copy(scan.points);
  scan.points[name] = point;
  showPoints();
}

function drop(name, kept) {
  const scan = scans.get(current);
  if (!scan.from) return;
  if (!kept) scan.points = scan.from;
  else if (!same(scan.points, scan.from)) { scan.done.push(scan.from); scan.undone = []; }
  scan.from = null;
  showPoints();
  recompute();
}

function change(points) {
  const scan = scans.get(current);
  if (same(points, scan.points)) return;
  scan.done.push(copy(scan.points));
  [scan.points, scan.undone] = [points, []];
  showPoints();
  recompute();
}

function step(from, to) {
  const scan = scans.get(current);
  if (!scan || scan.from || !scan[from].length) return;
  scan[to].push(scan.points);
  scan.points = scan[from].pop();
  showPoints();
  recompute();
}

async function recompute() {
  const [scan, mine] = [scans.get(current), ++asked];
  $("results").setAttribute("aria-busy", "true");
  showTools();
  let told = null, problem = "";
  try { told = await ask(`scans/${current}/numbers`, { points: scan.points }); } catch (error) { problem = error.message; }
  if (mine !== asked) return;
  if (told) scan.now = told;
  scan.problem = problem;
  $("results").setAttribute("aria-busy", "false");
  showNumbers();
  listScans();
  showTools();
}

async function save() {
  settle();
  const [scan, number] = [scans.get(current), current];
  if (!scan || scan.from || $("save").disabled) return;
  const points = copy(scan.points);
  try {
    const told = await ask(`scans/${number}/save`, { points, version: scan.version });
    Object.assign(scan, { saved: points, version: told.version });
    $("status").textContent = `Saved ${told.path}. Reports follow with inference and --landmarks ${about.landmarks_folder}`;
  } catch (error) { $("problem").textContent = error.message; }
  listScans();
  showTools();
}

function resize() {
  const height = Math.max(window.innerHeight - 240, 420) * Number($("size").value);
  for (const each of pictures) each.resize(height);
}

function hover(point) {
  $("pointer").textContent = point ? `pointer: row ${point[0].toFixed(1)}, column ${point[1].toFixed(1)}` : "";
}

const signed = (value, decimals) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(decimals);
const shown = (value, decimals) => value === null || value === undefined ? "" : typeof value === "boolean" ? (value ? "yes" : "no") : decimals === null ? String(Number(value.toPrecision(3))) : value.toFixed(decimals);

function showPoints() {
  const scan = scans.get(current);
  for (const each of pictures) each.show(scan.points, chosen);
  const reference = scan.found ?? scan.begun;
  $("points").tBodies[0].replaceChildren(...about.points.map(name => {
    const [row, column] = scan.points[name];
    const by = Math.hypot(row - reference[name][0], column - reference[name][1]);
    const line = html("tr", name === chosen ? { class: "chosen" } : {}, html("th", { scope: "row" }, words(name)), ...[row.toFixed(2), column.toFixed(2), by ? by.toFixed(2) : ""].map(text => html("td", { class: "number" }, text)));
    line.addEventListener("click", () => chose(name, true));
    return line;
  }));
  if (chosen) $("chosen").textContent = `${words(chosen)}: row ${scan.points[chosen][0].toFixed(2)}, column ${scan.points[chosen][1].toFixed(2)}`;
}

function difference(now, before, decimals) {
  if (typeof now !== "number" || typeof before !== "number") return html("small");
  const by = Number((now - before).toFixed(decimals ?? 3));
  return by ? html("small", { class: by > 0 ? "up" : "down" }, signed(by, decimals ?? 3)) : html("small");
}

function showNumbers() {
  const { now, before, problem } = scans.get(current);
  $("problem").textContent = problem;
  $("results").classList.toggle("stale", Boolean(problem));
  $("pictures").classList.toggle("stale", Boolean(problem));
  for (const each of pictures) each.outline(now.region_map);
  $("regions").tHead.replaceChildren(html("tr", {}, html("th", { scope: "col" }, "region"), ...about.quantities.map(each => html("th", { scope: "col", class: "number" }, each.label))));
  $("regions").tBodies[0].replaceChildren(...Object.keys(now.regions).map(region => html("tr", { "data-region": region }, html("th", { scope: "row" }, words(region)), ...about.quantities.map(({ name, decimals }) => {
    const value = now.regions[region][name];
    return html("td", { class: "number", "data-quantity": name, "data-value": value ?? "" }, html("span", {}, shown(value, decimals)), difference(value, before.regions[region]?.[name], decimals));
  }))));
  $("indices").tBodies[0].replaceChildren(...about.indices.map(({ name, label, decimals }) => html("tr", {}, html("th", { scope: "row" }, label), ...[now, before].map(each => html("td", { class: "number" }, shown(each.indices?.[name], decimals))))));
  const [were, are] = [before.flags, now.flags].map(flags => new Set(flags.map(flag => flag.name)));
  $("flags").replaceChildren(
    ...now.flags.map(flag => html("li", flag.fatal ? { class: "fatal" } : {}, html("code", {}, flag.name), `${were.has(flag.name) ? "" : " (new)"}: ${flag.sentence}`)),
    ...before.flags.filter(flag => !are.has(flag.name)).map(flag => html("li", {}, html("del", {}, flag.name), " is no flag of these landmarks")));
}

function showTools() {
  const scan = scans.get(current), open = Boolean(scan && pictures.length);
  $("undo").disabled = !(open && scan.done.length);
  $("redo").disabled = !(open && scan.undone.length);
  $("reset").disabled = !(open && scan.found && !same(scan.points, scan.found));
  $("save").disabled = !(open && unsaved(scan) && !scan.problem);
}

function arrow(event) {
  const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!way || !chosen || !event.target.closest?.(".point") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const scan = scans.get(current), by = event.shiftKey ? FAR : STEP;
  const [row, column] = scan.points[chosen];
  move(chosen, inside([row + way[0] * by, column + way[1] * by], scan.image_shape));
  clearTimeout(arrow.timer);
  arrow.timer = setTimeout(settle, WAIT_MS);
}

// what arrow keys have moved since is one step of undo
function settle() {
  clearTimeout(arrow.timer);
  if (scans.get(current)?.from) drop(chosen, true);
}

document.addEventListener("keydown", event => {
  arrow(event);
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  const does = { z: event.shiftKey ? () => step("undone", "done") : () => step("done", "undone"), y: () => step("undone", "done"), s: save }[key];
  if (!does || (key !== "s" && event.target.matches?.("input[type=search]"))) return;
  event.preventDefault();
  settle();
  does();
});
document.addEventListener("focusout", settle);
$("undo").addEventListener("click", () => step("done", "undone"));
$("redo").addEventListener("click", () => step("undone", "done"));
$("reset").addEventListener("click", () => change(copy(scans.get(current).found)));
$("save").addEventListener("click", save);
$("filter").addEventListener("input", listScans);
$("size").addEventListener("input", resize);
window.addEventListener("resize", resize);
for (const [id, name] of [["names", "without-names"], ["outlines", "without-outlines"]]) $(id).addEventListener("change", () => $("pictures").classList.toggle(name, !$(id).checked));
window.addEventListener("beforeunload", event => { if ([...scans.values()].some(unsaved)) event.preventDefault(); });

ask("about").then(told => {
  about = told;
  $("folder").textContent = about.folder;
  $("legend").replaceChildren(...about.regions.map(({ label, colour }) => {
    const box = html("i");
    box.style.background = colour;
    return html("li", {}, box, label);
  }));
  return open(0);
}).catch(error => { $("problem").textContent = error.message; });
