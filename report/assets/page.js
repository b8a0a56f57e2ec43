"use strict";
/* Draws the page from the data beside it. Text is only inserted as text nodes, so no name can become markup. */
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const STATES = {
  undeclared: ["!", "possible, but not declared"],
  missing: ["×", "declared, but not possible"],
  declared: ["●", "possible and declared"],
  proxied: ["◐", "possible through the ingress"],
  follows: ["○", "possible, follows from the declaration"],
  denied: ["·", "denied"],
};
const VERDICTS = {
  disagrees: ["✗", "the probe disagrees"],
  inconclusive: ["?", "the probe is inconclusive"],
  agrees: ["✓", "the probe agrees"],
  free: ["", "probed, not judged"],
};

const ANSWERS = DATA.answers.map((answer) => ({ why: "", way: [], reasons: [], notes: [], ...answer }));
const CELLS = DATA.cells.map((row) => new Map(Object.entries(row).map(([to, cell]) =>
  [Number(to), cell.map((index) => ANSWERS[index])])));
/* A large site's page leaves out the pairs that no flow concerns; they are denied. */
const DENIED = [{ ports: ["any port"], state: "denied", why: "", way: [], notes: [],
  reasons: ["no flow leads there; `python -m commands explain` names the rule or the network that denies it"] }];
const cellOf = (from, to) => CELLS[from].get(to) ?? (from === to ? [] : DENIED);
const ALL = CELLS.flatMap((row) => [...row.values()].flat());
const NAMES = DATA.names.map(({ name }) => name);

const at = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "text", "title", "defs", "marker"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const many = (number, one, more = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : more}`;
const first = (order, present) => Object.keys(order).find((name) => present.includes(name));
const REST = ["*", "any port"];
const portName = (port) => (port === "*" ? "any other port" : port);
const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);

/* ---- the drawing ---- */

function drawing({ width, height, boxes, legs, arrows }) {
  const head = make("marker", { id: "head", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7,
    orient: "auto-start-reverse" }, make("path", { d: "M0 0 10 5 0 10z" }));
  const box = ({ kind, role, title, detail, x, y, width, height }) => {
    const one = kind === "leg" || !detail;
    const middle = y + height / 2;
    const top = { host: y + 22, zone: y + 21 }[kind] ?? (one ? middle + 4.5 : middle - 4);
    const left = x + (kind === "host" ? 32 : 12);
    const group = make("g", { class: `${kind} ${role}`, "data-name": title },
      make("rect", { x, y, width, height, rx: { host: 14, zone: 10, leg: 12 }[kind] ?? 6 }),
      make("text", { class: kind === "leg" ? "" : "title", x: left, y: top }, title));
    if (detail) group.append(make("text", { class: "detail", x: left, y: top + 16 }, detail));
    return group;
  };
  const areas = boxes.filter(({ kind }) => kind === "host" || kind === "zone");
  const things = boxes.filter((each) => !areas.includes(each));
  const arrow = ({ source, destination, ports, path, via }) => make("path",
    { class: "arrow", d: path, "marker-end": "url(#head)", "data-source": source, "data-to": destination }, make("title", {}, `${source} → ${destination}: ${ports}${via ? `, through ${via}` : ""}`));
  return make("svg", { viewBox: `-2 -2 ${width + 4} ${height + 4}`, role: "img",
    "aria-label": "Networks as boxes, services inside, declared flows as arrows; the list below says the same" },
    make("defs", {}, head), ...areas.map(box), ...legs.map((d) => make("path", { class: "wire", d })),
    ...arrows.map(arrow), ...things.map(box),
    ...arrows.filter(({ label }) => label).map(({ label, x, y, anchor, source, destination }) => make("text",
      { class: "label", x, y, "text-anchor": anchor, "data-source": source, "data-to": destination }, label)));
}

/* ---- the focus: one name with all that it reaches or is reached by, or every name ---- */

function only(wanted) {
  const name = wanted || (DATA.most ? NAMES[0] : "");
  at("focus").value = name;
  const near = new Set([name]);
  for (const { source, destination } of DATA.drawing.arrows) {
    if (source === name) near.add(destination);
    if (destination === name) near.add(source);
  }
  const fade = (selector, away) => document.querySelectorAll(selector).forEach((each) =>
    each.classList.toggle("faded", name !== "" && away(each.dataset)));
  fade("#drawing .service, #drawing .outside", (its) => !near.has(its.name));
  fade("#drawing .arrow, #drawing .label", (its) => its.source !== name && its.to !== name);
  const one = NAMES.indexOf(name);
  const open = (cell) => cell.some(({ way, state }) => way.length || state === "missing");
  const all = [...NAMES.keys()];
  const shown = one < 0 ? all : all.filter((each) => each === one || open(cellOf(one, each)) || open(cellOf(each, one)));
  const some = DATA.most ? [one, ...shown.filter((each) => each !== one)].slice(0, DATA.most).sort((a, b) => a - b) : shown;
  if (DATA.most) {
    at("folded").textContent = `A large site: the matrix has ${name} and ${some.length < shown.length
      ? `${(some.length - 1).toLocaleString("en")} of ` : ""}${many(shown.length - 1, "name")} that it reaches or is reached by; `
      + "the list above the drawing leads to others. Pairs that no flow concerns are denied.";
  }
  matrix(at("grid"), some);
}

/* ---- the matrix, a grid as the ARIA Authoring Practices describe it: one tab stop, arrow keys inside ---- */

function matrix(table, shown) {
  const begins = (place) => place > 0 && DATA.names[shown[place]].group !== DATA.names[shown[place - 1]].group;
  const heads = shown.map((index, place) =>
    make("th", { scope: "col", class: begins(place) ? "begins" : "" }, make("span", {}, NAMES[index])));
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "from ↓ to →"), ...heads));
  const body = make("tbody", {}, ...shown.map((from, y) => make("tr", { class: begins(y) ? "first" : "" },
    make("th", { scope: "row" }, make("span", {}, NAMES[from])),
    ...shown.map((to, x) => cell(cellOf(from, to), from, to, begins(x) ? "begins" : "")))));
  table.replaceChildren(head, body);

  const rows = [...body.rows].map((row) => [...row.cells].slice(1));
  const last = rows.length - 1;
  let [y, x] = [0, 0];
  const move = (toY, toX, focus = true) => {
    rows[y][x].tabIndex = -1;
    heads[x].classList.remove("here");
    [y, x] = [Math.max(0, Math.min(last, toY)), Math.max(0, Math.min(last, toX))];
    rows[y][x].tabIndex = 0;
    if (focus) rows[y][x].focus();
  };
  move(0, Math.min(1, last), false);
  const place = (target) => {
    const found = target.closest("td");
    return found && [found.parentElement.rowIndex - 1, found.cellIndex - 1];
  };
  body.addEventListener("keydown", (event) => {
    const far = event.ctrlKey || event.metaKey;
    const steps = { ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1],
      Home: [far ? 0 : y, 0], End: [far ? last : y, last], PageUp: [y - 5, x], PageDown: [y + 5, x] };
    if (event.altKey || (far && !["Home", "End"].includes(event.key))) return;
    if (steps[event.key]) move(...steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") show(shown[y], shown[x]);
    else return;
    event.preventDefault();
  });
  body.addEventListener("click", ({ target }) => {
    const found = place(target);
    if (found) { move(...found); show(...found.map((place) => shown[place])); }
  });
  body.addEventListener("focusin", () => heads[x].classList.add("here"));
  body.addEventListener("focusout", () => heads[x].classList.remove("here"));
}

function cell(answers, from, to, kind) {
  const name = `${NAMES[from]} to ${NAMES[to]}`;
  if (from === to) return make("td", { class: `self ${kind}`, tabindex: -1, "aria-label": `${name}: itself` });
  const state = first(STATES, answers.map((answer) => answer.state));
  const ports = answers.filter((answer) => answer.way.length).flatMap(({ ports }) => ports.map(portName));
  const verdict = first(VERDICTS, probes(from, to).map((probe) => probe.verdict));
  const said = [`${name}: ${STATES[state][1]}`, ...(ports.length ? [`on ${ports.join(", ")}`] : []),
    ...(verdict ? [VERDICTS[verdict][1]] : [])];
  const made = make("td", { class: `${state} ${kind} ${verdict ?? ""}`, tabindex: -1, "aria-haspopup": "dialog",
    "aria-label": said.join("; ") }, STATES[state][0]);
  if (verdict) made.append(make("span", { class: `probe ${verdict}` }, VERDICTS[verdict][0]));
  return made;
}

const probes = (from, to) => DATA.verification?.cells[`${from} ${to}`] ?? [];

/* ---- one cell; a modal dialog keeps the focus, and gives it back to the cell when it closes ---- */

function show(from, to) {
  if (from === to) return;
  const dialog = at("cell");
  at("cell-title").textContent = `${NAMES[from]} → ${NAMES[to]}`;
  const asked = probes(from, to);
  at("cell-body").replaceChildren(...cellOf(from, to).map((each) => answer(each, from, to)),
    ...(asked.length ? [make("h3", {}, "Last verification"), probeList(asked)] : []));
  dialog.showModal();
  dialog.scrollTop = 0;
}

function answer({ ports, state, why, way, reasons, notes }, from, to) {
  const made = make("section", { class: `answer ${state}` },
    make("h3", {}, sign(STATES[state][0]), ` ${ports.map(portName).join(", ")}: ${way.length ? "possible" : "denied"}`));
  if (why) made.append(make("p", {}, `${why[0].toUpperCase()}${why.slice(1)}.`));
  if (way.length) made.append(make("ol", { class: "hops", "aria-label": "Way" }, ...way.map((hop) => make("li", {}, hop))));
  made.append(make("p", { class: "quiet" }, way.length ? "Opened by" : "Denied by"),
    make("ul", { class: "reasons" }, ...reasons.map((reason) => make("li", {}, reason))));
  if (notes.length) made.append(make("ul", { class: "reasons" }, ...notes.map((note) => make("li", {}, note))));
  const lines = ports.map((port) => flow(from, to, port, state)).filter((each) => each);
  if (lines.length) made.append(line(WORDS[state], lines.map((each) => `    - ${each}`).join("\n")));
  return made;
}

/* ---- the lines of the stack file that would declare a connection, or close it by going ---- */

const WORDS = {
  declared: "Closes without this, below homelab-network:flows of the stack file:",
  proxied: "Closes, for every client of the ingress, without this below homelab-network:flows:",
  undeclared: "Is declared by this below homelab-network:flows; what opens it stands above:",
  denied: "Opens by this below homelab-network:flows, if no rule forbids it (make preview says so):",
};

function flow(from, to, port, state) {
  const [source, target] = [DATA.names[from], DATA.names[to]];
  const outside = ["outside", "hosts", "undeclared"];
  if (REST.includes(port) || !WORDS[state]) return "";
  if (state === "declared") return `${source.name} -> ${target.name}:${port}`;
  if (outside.slice(1).includes(source.group) && state !== "proxied" || outside.includes(target.group)) return "";
  const routed = state === "proxied" || (source.group === "outside" && target.name !== DATA.ingress);
  return routed && !DATA.ingress ? "" : `${routed ? DATA.ingress : source.name} -> ${target.name}:${port}`;
}

function line(words, text) {
  const code = make("code", {}, text);
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(code); // what is left where a browser gives this file no clipboard
    navigator.clipboard?.writeText(`${text}\n`).then(() => { button.textContent = "Copied"; }, () => {});
  });
  return make("div", { class: "line" }, make("p", { class: "quiet" }, words), make("pre", {}, code), button);
}

/* ---- a question ---- */

function ask(form) {
  const { from, to, port } = form.elements;
  const options = () => NAMES.map((name, index) => make("option", { value: index }, name));
  from.append(...options());
  to.append(...options());
  to.value = Math.max(0, NAMES.indexOf(DATA.ingress));
  const known = [...new Set(ANSWERS.flatMap(({ ports }) => ports))].filter((each) => each !== "*");
  at("ports").append(...known.sort((a, b) => parseInt(a) - parseInt(b)).map((value) => make("option", { value })));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = port.value.trim().toLowerCase();
    const wanted = /^\d+$/.test(typed) ? `${typed}/tcp` : typed;
    const all = cellOf(Number(from.value), Number(to.value));
    const exact = all.filter(({ ports }) => ports.includes(wanted));
    const found = !wanted ? all : exact.length ? exact : all.filter(({ ports }) => REST.some((each) => ports.includes(each)));
    at("told").replaceChildren(...(from.value === to.value ? [make("p", {}, "Both are the same.")]
      : found.map((each) => told(each, wanted, Number(from.value), Number(to.value)))));
  });
}

function told(found, wanted, from, to) {
  const ports = wanted ? [wanted] : found.ports;
  const yes = found.way.length ? "Yes" : "No";
  const said = `${yes}: ${NAMES[from]} → ${NAMES[to]} on ${ports.map(portName).join(", ")} is ${STATES[found.state][1]}.`;
  return make("div", {}, make("p", {}, make("strong", {}, said)), answer({ ...found, ports }, from, to));
}

/* ---- every possible connection, for paper and for a search in the page; made when it is first looked at ---- */

function possible(table) {
  if (table.rows.length) return;
  const row = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
  const rows = CELLS.flatMap((row, from) => [...row].flatMap(([to, cell]) => cell.filter(({ way }) => way.length)
    .map(({ ports, state, way, reasons }) => [NAMES[from], NAMES[to], ports.map(portName).join(", "),
      `${STATES[state][0]} ${STATES[state][1]}`, way.join(" → "), reasons.join("; ")])));
  table.append(make("thead", {}, row("th", ["from", "to", "ports", "", "way", "opened by"])),
    make("tbody", {}, ...rows.map((texts) => row("td", texts))));
}

function printed() {
  const closed = [...document.querySelectorAll("details:not([open])")];
  addEventListener("beforeprint", () => {
    possible(at("possible"));
    closed.splice(0, closed.length, ...document.querySelectorAll("details:not([open])"));
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
}

function probeList(asked) {
  return make("ul", { class: "cards" }, ...asked.map(({ what, where, expected, got, verdict, cause, control }) => {
    const wrong = verdict === "disagrees" || verdict === "inconclusive";
    const made = make("li", { class: wrong ? "wrong" : "" }, `${VERDICTS[verdict][0]} ${VERDICTS[verdict][1]}: `, make("strong", {}, what),
      ...(where ? [` at ${where}`] : []), make("p", {}, `Expected ${expected}, got ${got}.`));
    if (cause) made.append(make("p", {}, `Likely cause: ${cause}`));
    if (control) made.append(make("p", { class: "quiet" }, `Evidence that its packets pass at all: ${control}`));
    return made;
  }));
}

/* ---- summary, findings, verification ---- */

function summary() {
  const count = (...states) => ALL.reduce((sum, { state, ports }) => sum + states.includes(state) * ports.length, 0);
  const surplus = count("undeclared");
  const missing = count("missing");
  const tile = (bad, term, main, more) => make("div", { class: bad ? "bad" : "" }, make("dt", {}, term),
    make("dd", {}, make("strong", {}, main), more));
  const found = DATA.findings.length;
  at("summary").append(
    tile(surplus + missing, "Flows", surplus || missing ? `${surplus} undeclared, ${missing} missing`
      : `All ${count("declared")} declared are possible`,
    `${many(count("proxied", "follows"), "other follows", "others follow")} from them; ${DATA.most ? "all else is" : `${count("denied")} are`} denied`),
    tile(found, "Findings of the policy pack", found ? many(found, "finding") : "None",
      `${many(DATA.exceptions.length, "exception")} in force`));
  const run = DATA.verification;
  if (!run) {
    at("summary").append(tile(false, "Last verification", "Not given", "make verify, then make report"));
    return;
  }
  const wrong = run.counts.disagrees + run.counts.inconclusive;
  at("summary").append(tile(wrong, "Last verification",
    wrong ? `${run.counts.disagrees} disagree, ${run.counts.inconclusive} inconclusive` : "Every cell agrees",
    `${many(run.counts.agrees, "cell agrees", "cells agree")}; file of ${run.when}`));
}

function findings(place) {
  if (!DATA.findings.length) place.append(make("p", {}, "The policy pack has nothing to say against this stack."));
  place.append(make("ul", { class: "cards" }, ...DATA.findings.map(({ rule, severity, message, remedy }) =>
    make("li", { class: `wrong ${severity}` }, make("span", { class: "tag" }, severity), " ", make("code", {}, rule),
      make("p", {}, message), make("p", { class: "quiet" }, remedy))),
  ...DATA.exceptions.map(({ rule, resource, reason, owner, expires }) =>
    make("li", {}, make("span", { class: "tag" }, "exception"), " ", make("code", {}, rule),
      make("p", {}, `${resource}: set aside until ${expires}`), make("p", { class: "quiet" }, `${owner}: ${reason}`)))));
}

function verification(place) {
  const run = DATA.verification;
  if (!run) {
    place.append(make("p", {}, "No run of the live probe was given. ", make("code", {}, "make verify"),
      " leaves one that ", make("code", {}, "make report"), " finds."));
    return;
  }
  const counts = Object.entries(run.counts).filter(([, number]) => number).map(([verdict, number]) => `${number} ${verdict}`);
  place.append(make("p", {}, `File of ${run.when}, ${run.seconds} s: ${counts.join(", ")}. `
    + "Each cell of the matrix has its own, in its upper right corner and when it is opened."));
  const all = [...Object.values(run.cells).flat(), ...run.others];
  const bad = all.filter(({ verdict }) => verdict === "disagrees" || verdict === "inconclusive");
  if (bad.length) place.append(make("h3", {}, many(bad.length, "cell does", "cells do") + " not agree"), probeList(bad));
  if (run.notes.length) {
    place.append(make("h3", {}, "About the host and what else runs there"),
      make("ul", {}, ...run.notes.map((note) => make("li", {}, note))));
  }
  if (run.changes.length) {
    place.append(make("h3", {}, many(run.changes.length, "answer", "answers") + " changed since the run before"),
      make("ul", {}, ...run.changes.map((change) => make("li", {}, change))));
  }
  if (run.earlier.length) place.append(make("h3", {}, "Runs so far"), runs([...run.earlier, run].reverse()));
  if (run.leftOut.length) {
    place.append(make("h3", {}, "Not asked"), make("ul", {}, ...run.leftOut.map((reason) => make("li", {}, reason))));
  }
  if (run.others.length) {
    place.append(make("details", {}, make("summary", {}, `${many(run.others.length, "answer")} outside the matrix: `
      + "newcomers on a network, host names without a route"), probeList(run.others)));
  }
}

function runs(all) {
  const wrong = ({ counts }) => counts.disagrees + counts.inconclusive;
  const row = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
  return make("div", { class: "pan" }, make("table", { class: "runs" },
    make("thead", {}, row("th", ["", "when", "agree", "disagree", "inconclusive", "took"])),
    make("tbody", {}, ...all.map((run) => row("td", [wrong(run) ? "✗" : "✓", run.when, `${run.counts.agrees}`,
      `${run.counts.disagrees}`, `${run.counts.inconclusive}`, `${run.seconds} s`])))));
}

function legend(place) {
  const shown = Object.entries(STATES);
  place.append(...shown.map(([state, [mark, text]]) => make("li", { class: state }, sign(mark), ` ${text}`)));
  if (DATA.verification) {
    place.append(...Object.values(VERDICTS).filter(([mark]) => mark).map(([mark, text]) => make("li", {}, sign(mark), ` ${text}`)));
  }
}

at("lead").textContent = `Judged as of ${DATA.day}, from the resources that the stack is made of.`;
at("drawing").append(drawing(DATA.drawing));
at("flows-title").textContent = `Declared flows as a list: ${many(DATA.drawing.arrows.length, "pair")}`;
at("flows").append(...DATA.drawing.arrows.map(({ source, destination, ports, via }) =>
  make("li", {}, `${source} → ${destination}: ${ports}${via ? `, through ${via}` : ""}`)));
at("focus").append(...(DATA.most ? [] : [make("option", { value: "" }, "everything")]), ...NAMES.map((name) => make("option", {}, name)));
at("focus").addEventListener("change", () => only(at("focus").value));
at("drawing").addEventListener("click", ({ target }) => {
  const name = target.closest(".service, .outside")?.dataset.name;
  if (NAMES.includes(name)) only(at("focus").value === name ? "" : name);
});
summary();
legend(at("legend"));
only("");
ask(at("ask"));
at("possible-title").textContent = `Every possible connection as a list: ${many(ALL.filter(({ way }) => way.length).length, "row")}`;
at("possible-title").parentElement.addEventListener("toggle", () => possible(at("possible")));
printed();
findings(at("findings"));
verification(at("verification"));
