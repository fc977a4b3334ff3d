"use strict";
// Tables sort by their headings; pictures are kept once and put in place when they are looked at.

const kept = JSON.parse(document.getElementById("pictures").textContent);

function key(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // no value: last, either way
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const body = heading.closest("table").tBodies[0];
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [key(row.cells[heading.cellIndex]), row]);
    rows.sort(([a], [b]) => (down && a !== null && b !== null ? compare(b, a) : compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  });
}

function fill(part) {
  for (const image of part.querySelectorAll("img[data-picture]:not([src])")) {
    image.src = "data:image/webp;base64," + kept[image.dataset.picture];
  }
}

for (const part of document.querySelectorAll("details.pictures")) {
  part.addEventListener("toggle", () => part.open && fill(part));
  if (part.open) fill(part);
}

for (const slider of document.querySelectorAll(".gallery input[type=range]")) {
  const wipe = slider.closest("figure").querySelector(".wipe");
  slider.addEventListener("input", () => wipe.style.setProperty("--cut", slider.value + "%"));
}

for (const choice of document.querySelectorAll("select[data-side]")) {
  const show = () => {
    for (const image of document.querySelectorAll(".wipe img")) {
      image.classList.toggle(choice.dataset.side, image.dataset.layer === choice.value);
    }
  };
  choice.addEventListener("change", show);
  show(); // a reloaded page keeps what was chosen
}
