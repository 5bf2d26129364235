// Uploads: one request for each file, three at a time, with a bar, a verdict and a way to try again.

const AT_ONCE = 3;
const PICTURE = /\.(jpe?g|png)$/i;
const ZIP = /\.zip$/i;

export function uploads(form) {
  const list = document.querySelector("[data-verdict-list]");
  const panel = document.querySelector("[data-verdicts]");
  const sum = document.querySelector("[data-verdicts-sum]");
  const retry = document.querySelector("[data-retry]");
  const tiles = document.querySelector("[data-tiles]");
  const waiting = [];
  let running = 0;
  const told = { good: 0, bad: 0 };
  const broken = [];

  for (const field of form.querySelectorAll("[data-files]")) {
    const taken = () => { const files = [...field.files]; field.value = ""; take(files); };
    field.addEventListener("change", taken);
    // Chosen before this script was there, on a slow line or by a fast hand.
    if (field.files.length) taken();
  }
  retry.addEventListener("click", () => {
    const again = broken.splice(0);
    told.bad -= again.length;
    for (const item of again) { item.row.remove(); queue(item.file, item.caption); }
    next();
  });
  window.addEventListener("beforeunload", (event) => { if (running || waiting.length) event.preventDefault(); });

  // Anywhere on the page.
  let depth = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; document.body.classList.add("is-dropping"); });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) document.body.classList.remove("is-dropping"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("is-dropping");
    // The entries must be asked for before the first await: afterwards the event has forgotten them.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const dropped = [...event.dataTransfer.files];
    take(entries.length ? (await Promise.all(entries.map(within))).flat() : dropped);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) { event.preventDefault(); take(files); }
  });

  async function take(files) {
    const texts = new Map();
    for (const file of files) {
      if (file.name.toLowerCase().endsWith(".txt")) texts.set(stem(file.name), await file.text());
    }
    const pictures = files.filter((file) => !file.name.toLowerCase().endsWith(".txt") && !file.name.startsWith("."));
    pictures.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    for (const file of pictures) queue(file, (texts.get(stem(file.name)) ?? "").slice(0, 2000));
    next();
  }

  function queue(file, caption) {
    panel.hidden = false;
    const parts = newRow(file.name);
    list.append(parts.row);
    waiting.push({ file, caption, ...parts });
    say();
  }

  function newRow(called) {
    const row = document.createElement("li");
    row.className = "verdict is-waiting";
    const name = document.createElement("b");
    name.textContent = called;
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Upload of ${called}`);
    const words = document.createElement("span");
    words.textContent = "waiting";
    row.append(name, bar, words);
    return { row, bar, words };
  }

  function next() {
    while (running < AT_ONCE && waiting.length) send(waiting.shift());
  }

  function send(item) {
    // A zip may hold a whole set; the studio judges what is in it file by file.
    const most = Number(form.dataset.mostBytes) * (ZIP.test(item.file.name) ? Number(form.dataset.most) : 1);
    if (item.file.size >= most) {
      end(item, { accepted: false, reason: `It has ${(item.file.size / 1e6).toFixed(0)} MB; it must stay under ${most / 1e6} MB.` });
      return;
    }
    running += 1;
    const request = new XMLHttpRequest();
    const url = new URL(form.dataset.url, location.href);
    url.searchParams.set("name", item.file.name);
    request.open("PUT", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (item.caption) request.setRequestHeader("X-Caption", encodeURIComponent(item.caption));
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      item.bar.value = event.loaded / event.total;
      item.words.textContent = event.loaded < event.total ? `${Math.round(100 * item.bar.value)} %` : "checking";
    });
    request.addEventListener("loadend", () => {
      running -= 1;
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* told below */ }
      if (answer?.files) opened(item, answer);
      else if (answer && "accepted" in answer) end(item, answer);
      else {
        const reason = answer?.message ?? "The studio did not answer. Is it still running? Try again.";
        broken.push(item);
        end(item, { accepted: false, reason });
      }
      next();
    });
    request.send(item.file);
  }

  // A zip's row makes room for the rows of the files in it.
  function opened(item, answer) {
    for (const one of answer.files) {
      const { row, bar, words } = newRow(one.name);
      item.row.before(row);
      end({ row, bar, words }, one);
    }
    item.row.remove();
    say();
  }

  function end(item, answer) {
    item.bar.remove();
    item.row.className = `verdict ${answer.accepted ? "is-good" : "is-bad"}`;
    item.words.textContent = answer.reason || (answer.notes ?? []).join("; ") || "taken";
    told[answer.accepted ? "good" : "bad"] += 1;
    if (answer.html) {
      tiles.insertAdjacentHTML("beforeend", answer.html);
      document.querySelector("[data-advice]")?.remove();
    }
    if (answer.count !== undefined) counted(answer.count);
    say();
  }

  function counted(count) {
    document.querySelector("[data-count]").textContent = count;
    const missing = Math.max(0, Number(form.dataset.fewest) - count);
    document.querySelector("[data-missing]").textContent = missing ? `${missing} more picture${missing === 1 ? "" : "s"} to go` : "";
    const link = document.querySelector("[data-next]");
    link.classList.toggle("is-off", missing > 0);
    if (missing) link.setAttribute("aria-disabled", "true");
    else link.removeAttribute("aria-disabled");
  }

  function say() {
    const left = waiting.length + running;
    const parts = [];
    if (left) parts.push(`${left} on the way`);
    if (told.good) parts.push(`${told.good} taken`);
    if (told.bad) parts.push(`${told.bad} refused`);
    sum.textContent = parts.join(", ");
    retry.hidden = !broken.length;
  }
}

function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}

// Every picture and caption file within a dropped folder.
async function within(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A folder is read a hundred entries at a time, until none come.
    const batch = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!batch.length) break;
    for (const inner of batch) found.push(...(await within(inner)));
  }
  return found.filter((file) => PICTURE.test(file.name) || file.name.toLowerCase().endsWith(".txt"));
}
