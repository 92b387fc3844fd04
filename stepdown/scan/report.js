"use strict";
const rows = [...document.querySelectorAll("tr[data-severity]")];
const tiles = [...document.querySelectorAll("button[data-severity]")];
const tool = document.getElementById("tool");
const words = document.getElementById("words");
const accepted = document.getElementById("accepted");

function show() {
  const severities = new Set(tiles.filter((t) => t.getAttribute("aria-pressed") === "true").map((t) => t.dataset.severity));
  const wanted = words.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = severities.has(row.dataset.severity) &&
      (!tool.value || row.dataset.tools.split(" ").includes(tool.value)) &&
      (accepted.checked || !row.classList.contains("accepted")) &&
      (!wanted || row.textContent.toLowerCase().includes(wanted));
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
}

for (const tile of tiles) {
  tile.addEventListener("click", () => {
    tile.setAttribute("aria-pressed", String(tile.getAttribute("aria-pressed") !== "true"));
    show();
  });
}
for (const field of [tool, words, accepted]) field.addEventListener("input", show);
document.getElementById("filters").hidden = false;
show();
