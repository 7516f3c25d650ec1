// The page's one script: live updates, the look (light or dark), times that go on, and a key for the filter.
// Everything else works without it. It draws nothing itself: what has changed is fetched from the server as it would be
// shown anew, and put in place where it differs. The one exception is progress, which is in the event already.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // --- the look ---------------------------------------------------------------------------------------------------

  const looks = ["auto", "light", "dark"];

  function look(form) {
    const button = form.querySelector("button");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const next = button.value;
      if (next === "auto") root.removeAttribute("data-theme");
      else root.dataset.theme = next;
      document.cookie = `atlasd_theme=${next}; Path=/; Max-Age=31536000; SameSite=Strict`;
      button.value = looks[(looks.indexOf(next) + 1) % looks.length];
      button.querySelector("[data-look]").textContent = next;
    });
  }

  // --- times ------------------------------------------------------------------------------------------------------

  // The server's clock, as far as this page knows it: what is shown counts from it, not from the reader's machine.
  let ahead = 0;

  function span(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`.replace(" 0 min", "");
    return `${Math.floor(whole / 86400)} d`;
  }

  function tick() {
    const now = Date.now() + ahead;
    for (const time of document.querySelectorAll("time[data-rel]")) {
      const seconds = (now - Date.parse(time.dateTime)) / 1000;
      let text;
      if (time.dataset.rel === "for") text = span(seconds);
      else if (seconds >= 0) text = seconds < 2 ? "just now" : `${span(seconds)} ago`;
      else text = `in ${span(-seconds)}`;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // --- putting in place -------------------------------------------------------------------------------------------

  // Makes `old` like `fresh`, touching what differs alone, so that focus, selection and open details stay.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return old;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      const put = document.importNode(fresh, true);
      old.replaceWith(put);
      return put;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return old;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    }
    const kept = new Map();
    for (const child of old.children) if (child.id) kept.set(child.id, child);
    let at = old.firstChild;
    for (const child of fresh.childNodes) {
      const same = child.id ? kept.get(child.id) : undefined;
      if (same && same.parentNode === old) {
        if (same === at) at = at.nextSibling;
        else old.insertBefore(same, at);
        morph(same, child);
      } else if (at && !(at.id && kept.has(at.id)) && !child.id) {
        const next = at.nextSibling;
        morph(at, child);
        at = next;
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    return old;
  }

  // --- fetching what is shown -------------------------------------------------------------------------------------

  // LIMIT: how often the page is fetched again at the most, in milliseconds, however many events come.
  const EVERY = 1000;
  let lastFetch = -EVERY;
  let due = null;
  let fetching = false;

  function refresh() {
    if (due !== null || !document.querySelector("[data-part]")) return;
    if (document.hidden) {
      stale = true;
      return;
    }
    due = setTimeout(fetchNow, Math.max(0, lastFetch + EVERY - performance.now()));
  }

  let stale = false;

  async function fetchNow() {
    due = null;
    if (fetching) return void refresh();
    fetching = true;
    lastFetch = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "x-atlasd-refresh": "1" }, credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") return void location.assign(answer.url);
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const next = part.id && fresh.getElementById(part.id);
        if (next) morph(part, next);
      }
      const now = Date.parse(fresh.documentElement.dataset.now);
      if (now) ahead = now - Date.now();
      tick();
    } catch {
      // The stream notices that the daemon is away, and says so.
    } finally {
      fetching = false;
    }
  }

  // --- events -----------------------------------------------------------------------------------------------------

  const names = [
    "run.queued", "run.started", "run.progress", "run.completed", "run.retrying", "request.refused", "reconcile.repaired",
  ];
  let shown = null;
  let wait = 1000;

  function say(state, words) {
    if (!shown || shown.dataset.state === state) return;
    shown.dataset.state = state;
    shown.textContent = words;
  }

  function progress(event) {
    const box = document.querySelector(`[data-progress="${Number(event.run_id)}"]`);
    if (!box) return void refresh();
    const now = event.progress;
    const restore = now.restore;
    const [done, total] = restore ? [restore.policies_done, restore.policies_total] : [now.types_done, now.types_total];
    const bar = box.querySelector("progress");
    bar.max = Math.max(1, total);
    bar.value = done;
    const words = restore
      ? `${done} of ${total} policies to write`
      : `${done} of ${total} types, ${now.read} of ${now.listed} policies read`;
    box.querySelector(".words").textContent = words;
    const waits = box.querySelector(".waits");
    waits.textContent = now.throttled_until ? `waiting for Graph until ${now.throttled_until.slice(11, 19)} UTC` : "";
  }

  function heard(message) {
    const event = JSON.parse(message.data);
    if (event.event === "run.progress") return void progress(event);
    if (event.event === "run.completed" && document.getElementById(`run-${Number(event.run_id)}`)) {
      const announcer = document.getElementById("announcer");
      if (announcer) announcer.textContent = `Run ${event.run_id} ${event.outcome}`;
    }
    refresh();
  }

  function listen(query) {
    const source = new EventSource(`/api/v1/events${query}`);
    source.onopen = () => {
      wait = 1000;
      say("live", "Live");
      // What happened between the page's making and now, or while the stream was away, is on no stream any more.
      refresh();
    };
    source.onerror = () => {
      say("lost", "Reconnecting");
      // The browser comes back by itself after a lost connection, not after an answer that was no stream.
      if (source.readyState === EventSource.CLOSED) again();
    };
    for (const name of names) source.addEventListener(name, heard);
    source.addEventListener("stream.gap", refresh);
    for (const name of ["stream.dropped", "stream.closed"]) {
      source.addEventListener(name, () => {
        say("lost", "Reconnecting");
        source.close();
        again();
      });
    }
    const again = () => {
      setTimeout(() => {
        refresh();
        listen(query);
      }, wait);
      wait = Math.min(wait * 2, 30000);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  }

  // --- begin ------------------------------------------------------------------------------------------------------

  document.addEventListener("DOMContentLoaded", () => {
    const now = Date.parse(root.dataset.now);
    if (now) ahead = now - Date.now();
    tick();
    setInterval(tick, 5000);
    document.querySelectorAll("form[data-theme-form]").forEach(look);
    shown = document.getElementById("live");
    if (shown) {
      say("lost", "Connecting");
      listen(document.body.dataset.events || "");
    }
    const every = Number(document.body.dataset.every);
    if (every) setInterval(refresh, every * 1000);
  });

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && stale) {
      stale = false;
      refresh();
    }
  });

  // A filter goes without its empty fields, so that the address says what is filtered by and no more.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-filter]")) return;
    for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
  });
  addEventListener("pageshow", (event) => {
    // Out of the browser's cache of pages: the stream was closed when it was left, and what it shows is old.
    if (event.persisted) return void location.reload();
    for (const field of document.querySelectorAll("form[data-filter] :disabled")) field.disabled = false;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) return;
    const field = document.querySelector("[data-filter] input:not([type=hidden]), [data-filter] select");
    if (field) {
      event.preventDefault();
      field.focus();
    }
  });
})();
