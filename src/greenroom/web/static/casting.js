// @ in the prompt opens the list of trained models; the pills below it do the same by a click.

export function casting(field) {
  const list = document.querySelector("[data-casting]");
  const pills = [...document.querySelectorAll("[data-cast]")];
  let chosen = 0;

  for (const pill of pills) {
    pill.addEventListener("click", () => {
      const before = field.value.slice(0, field.selectionStart);
      const gap = before && !/\s$/.test(before) ? " " : "";
      put(field.selectionStart, field.selectionEnd, `${gap}@${pill.dataset.cast} `);
    });
  }
  field.addEventListener("input", show);
  field.addEventListener("click", show);
  field.addEventListener("blur", () => setTimeout(hide, 150));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      field.form.requestSubmit();
      return;
    }
    if (list.hidden) return;
    const options = [...list.children];
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length;
      mark(options);
    } else if (event.key === "Enter" || event.key === "Tab") {
      event.preventDefault();
      pick(options[chosen].dataset.trigger);
    } else if (event.key === "Escape") hide();
  });

  // The word that is being written, when it begins with @.
  function written() {
    const before = field.value.slice(0, field.selectionStart);
    return /(?:^|\s)@([\w-]*)$/.exec(before);
  }

  function show() {
    const word = written();
    if (!word) { hide(); return; }
    const low = word[1].toLowerCase();
    const fits = pills.filter((pill) => `${pill.dataset.cast} ${pill.dataset.name}`.toLowerCase().includes(low)).slice(0, 8);
    list.replaceChildren(...fits.map(option));
    chosen = 0;
    mark([...list.children]);
    list.hidden = !fits.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
  }

  function option(pill, index) {
    const item = document.createElement("li");
    item.id = `cast-${index}`;
    item.setAttribute("role", "option");
    item.dataset.trigger = pill.dataset.cast;
    if (pill.dataset.face) {
      const face = document.createElement("img");
      face.src = pill.dataset.face;
      face.alt = "";
      item.append(face);
    }
    const name = document.createElement("b");
    name.textContent = pill.dataset.name;
    const trigger = document.createElement("span");
    trigger.textContent = `@${pill.dataset.cast}`;
    item.append(name, trigger);
    item.addEventListener("mousedown", (event) => { event.preventDefault(); pick(pill.dataset.cast); });
    return item;
  }

  function mark(options) {
    options.forEach((item, index) => item.setAttribute("aria-selected", String(index === chosen)));
    if (options[chosen]) field.setAttribute("aria-activedescendant", options[chosen].id);
  }

  function pick(trigger) {
    const word = written();
    if (word) put(field.selectionStart - word[1].length - 1, field.selectionStart, `@${trigger} `);
    hide();
  }

  function put(from, to, text) {
    field.focus();
    field.setRangeText(text, from, to, "end");
  }

  function hide() {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }
}
