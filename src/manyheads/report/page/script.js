"use strict";
// Tables sort by a click on a heading, or Enter on it: numbers largest first, words from A; again turns it round.
for (const table of document.querySelectorAll("table.sorts")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows];
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const numbers = rows.some(row => row.cells[column].dataset.value !== undefined);
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numbers;
    const order = (a, b) => numbers ? a - b : a.localeCompare(b, "en", {numeric: true});
    const missing = row => numbers && row.cells[column].dataset.value === undefined;
    rows.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : (down ? -1 : 1) * order(key(a), key(b))));
    headings.forEach(one => one.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }));
}
// A mark says what it is when a mouse, a finger or the keyboard is on it.
const tip = document.getElementById("tip");
let mark = null;
const show = event => {
  mark = event.target.closest("[data-tip]");
  place();
};
const place = () => {
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(6, box.x + box.width / 2 - own.width / 2), innerWidth - own.width - 6);
  const above = box.y - own.height - 6;
  tip.style.left = left + "px";
  tip.style.top = (above > 6 ? above : box.bottom + 6) + "px";
};
// The browser's own tip, for pages without scripts, would come on top.
document.querySelectorAll("[data-tip] > title").forEach(title => title.remove());
document.addEventListener("pointerover", show);
document.addEventListener("focusin", show);
document.addEventListener("scroll", place, true);
// Names above the figures take their group out of them.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", shown);
    const inside = button.closest("section").querySelectorAll(`[data-group="${button.value}"]`);
    inside.forEach(part => part.classList.toggle("away", !shown));
  });
}
