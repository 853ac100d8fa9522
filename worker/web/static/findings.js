// The table of findings: search, filter, sort and page. All rows are in the page as JSON. Only one page of the table is
// in the document, so that searching 100,000 rows stays fast. Values are set as text, never as HTML.
"use strict";
(() => {
  const ROWS_ON_A_PAGE = 500;
  const KIND = 0;
  const BY = 8;
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("findings-data").textContent);
  const form = element("findings-form");
  const search = element("findings-search");
  const kind = element("findings-kind");
  const by = element("findings-by");
  const body = element("findings-rows");
  const blank = element("findings-row").content.firstElementChild;
  const headers = [...document.querySelectorAll("#findings thead th")];
  const back = element("findings-back");
  const on = element("findings-on");
  const order = new Intl.Collator(undefined, { numeric: true });
  const number = new Intl.NumberFormat("en");

  const all = data.map((cells) => ({ cells, text: cells.join("\n").toLocaleLowerCase() }));
  let found = all;
  let first = 0;
  let sorted = { column: -1, descending: false };

  const show = () => {
    const rows = document.createDocumentFragment();
    for (const { cells } of found.slice(first, first + ROWS_ON_A_PAGE)) {
      const row = blank.cloneNode(true);
      row.querySelectorAll("bdi").forEach((place, column) => {
        place.textContent = cells[column] ?? "none";
        place.classList.toggle("soft", place.classList.contains("soft") || cells[column] === null);
      });
      rows.append(row);
    }
    body.replaceChildren(rows);
    const last = Math.min(first + ROWS_ON_A_PAGE, found.length);
    const part = found.length > ROWS_ON_A_PAGE ? `${number.format(first + 1)} to ${number.format(last)} of ` : "";
    const among = found.length < all.length ? ` found among ${number.format(all.length)}` : "";
    element("findings-shown").textContent = `${part}${number.format(found.length)} ${found.length === 1 ? "finding" : "findings"}${among}`;
    back.disabled = first === 0;
    on.disabled = last >= found.length;
  };
  const select = () => {
    const words = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    found = all.filter(({ cells, text }) =>
      (kind.value === "" || cells[KIND] === kind.value) && (by.value === "" || cells[BY] === by.value) &&
      words.every((word) => text.includes(word)));
    if (sorted.column >= 0) {
      const sign = sorted.descending ? -1 : 1;
      found.sort((one, other) => sign * order.compare(one.cells[sorted.column] ?? "", other.cells[sorted.column] ?? ""));
    }
    first = 0;
    show();
  };
  const sortBy = (column) => {
    sorted = { column, descending: sorted.column === column && !sorted.descending };
    headers.forEach((header) => {
      header.setAttribute("aria-sort", Number(header.dataset.cell) !== column ? "none" : sorted.descending ? "descending" : "ascending");
    });
    select();
  };
  const turn = (rows) => {
    first += rows;
    show();
    element("findings").scrollIntoView({ block: "start" });
  };

  headers.forEach((header) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(Number(header.dataset.cell)));
    header.append(button);
    header.setAttribute("aria-sort", "none");
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", select);
  by.addEventListener("change", select);
  kind.addEventListener("change", select);
  back.addEventListener("click", () => turn(-ROWS_ON_A_PAGE));
  on.addEventListener("click", () => turn(ROWS_ON_A_PAGE));
  form.hidden = false;
  element("findings-pages").hidden = all.length <= ROWS_ON_A_PAGE;
  show();
})();
