"use strict";
(() => {
  const selects = [...document.querySelectorAll("select[data-filter]")];
  const asked = () => Object.fromEntries(selects.map((select) => [select.dataset.filter, select.value]));
  const apply = () => {
    const wanted = asked();
    const fits = (element, names) => names.every((name) => !wanted[name] || element.dataset[name] === wanted[name]);
    let shown = 0;
    for (const block of document.querySelectorAll("section.block")) {
      let rows = 0;
      for (const row of block.querySelectorAll("tr[data-kind]")) {
        row.hidden = !fits(row, ["kind", "level"]);
        rows += row.hidden ? 0 : 1;
      }
      block.hidden = !rows || !fits(block, ["dataset", "protocol", "space"]);
      shown += block.hidden ? 0 : 1;
    }
    document.getElementById("nothing").hidden = shown > 0;
  };
  for (const select of selects) select.addEventListener("change", apply);
  apply();
})();
