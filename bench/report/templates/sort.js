"use strict";
(() => {
  // Rows are sorted by what a cell says as data-value, or by its text; a second click turns the order round.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    const text = "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim().replace(/[\u2009,]/g, "");
    return text === "" || text === "—" || Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.querySelectorAll("thead th")];
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
        const keyed = [...body.rows].map((row) => [valueOf(row, column), row]);
        const empty = (key) => key === "" || key === "—";
        keyed.sort(([a], [b]) => empty(a) - empty(b) || turn * compare(a, b)); // without a value last, either way
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }
})();
