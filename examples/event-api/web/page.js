"use strict";
// The key comes with the address's fragment, which no server sees, or is asked for; it is kept for this tab alone.
const byId = (id) => document.getElementById(id);
const fragment = new URLSearchParams(location.hash.slice(1)).get("key");
if (fragment) {
  sessionStorage.setItem("key", fragment);
  history.replaceState(null, "", location.pathname);
}

const COUNTRIES_MAX = 20;
const LATEST_MAX = 20;
const ALERTS_MAX = 50;
const ACTORS_MAX = 10;
// A stream that brings many events has the counts asked for once in this time.
const COUNTS_EVERY_MS = 1000;
const SILENCE_MS = 45_000;
const AGAIN_MS = 2000;
// Where nothing comes, time goes on nevertheless: an alert opens when what could have come before has had its time.
const BEAT_MS = 5000;
// Minutes of one bar.
const BAR_MINUTES = 15;

// All text comes in by textContent: nothing that an event says becomes markup.
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

// A name is set apart from what stands around it, whichever way it is written.
const name = (text) => element("bdi", text);

const row = (...cells) => {
  const made = element("tr");
  made.append(...cells.map((cell, at) => {
    const shown = at === 0 ? Object.assign(element("th"), { scope: "row" }) : element("td");
    shown.append(cell);
    return shown;
  }));
  return made;
};

const percent = (rate) => (rate === undefined ? "–" : `${(rate * 100).toFixed(1)} %`);
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const sum = (values) => values.reduce((all, value) => all + value, 0);

const tile = (number, text, beside) => {
  const made = element("li");
  made.append(element("strong", String(number)), text);
  if (beside) made.append(element("small", beside));
  return made;
};

const shape = (kind, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

const drawTrend = (metrics) => {
  const { successes, failures } = metrics.trend;
  const bars = [];
  for (let at = 0; at < successes.length; at += BAR_MINUTES) {
    bars.push([sum(successes.slice(at, at + BAR_MINUTES)), sum(failures.slice(at, at + BAR_MINUTES))]);
  }
  // An hour of the day before stands over each of its quarters, as a quarter of its logins.
  const before = metrics.hours.map((hour) => ((hour.day_before.successes + hour.day_before.failures) * BAR_MINUTES) / 60);
  const largest = Math.max(1, ...bars.map(([good, bad]) => good + bad), ...before);
  const high = (value) => (value / largest) * 96;
  const svg = shape("svg", { viewBox: `0 0 ${bars.length * 4} 100`, preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", `${metrics.logins} logins, ${percent(metrics.failure_rate)} of them failed; the table below has the hours`);
  bars.forEach(([good, bad], at) => {
    if (good) svg.append(shape("rect", { class: "success", x: at * 4, y: 100 - high(good), width: 3, height: high(good) }));
    if (bad) svg.append(shape("rect", { class: "failure", x: at * 4, y: 100 - high(good + bad), width: 3, height: Math.max(high(bad), 1) }));
  });
  const wide = (bars.length * 4) / before.length;
  const points = before.flatMap((value, at) => [`${at * wide},${100 - high(value)}`, `${(at + 1) * wide},${100 - high(value)}`]);
  svg.append(shape("polyline", { class: "before", points: points.join(" ") }));
  byId("trend").replaceChildren(svg);
};

const showMetrics = (metrics) => {
  byId("login").hidden = true;
  byId("content").hidden = false;
  const { all, by_method: methods, by_country: countries } = metrics.total;
  const loginsBefore = metrics.before.successes + metrics.before.failures;
  byId("tiles").replaceChildren(
    tile(metrics.logins, "logins", `${loginsBefore} the day before`),
    tile(percent(metrics.success_rate), "succeeded"),
    tile(percent(metrics.failure_rate), "failed", `${all.failures} logins`),
    tile(all.mfa_failures, "second factors failed", `${metrics.before.mfa_failures} the day before`),
    tile(all.lockouts, "lockouts", `${metrics.before.lockouts} the day before`),
    tile(all.recoveries, "recoveries", `${metrics.before.recoveries} the day before`),
  );
  drawTrend(metrics);
  byId("hours").tBodies[0].replaceChildren(...metrics.hours.map(({ from, counts, day_before: before }) => row(
    clock(from), String(counts.successes), String(counts.failures), String(counts.mfa_failures), String(counts.lockouts),
    String(counts.recoveries), String(before.successes + before.failures),
  )));

  const failed = Object.entries(methods).map(([method, counts]) => [method, counts.mfa_failures + counts.failures]);
  failed.sort((one, other) => other[1] - one[1]);
  const most = Math.max(1, ...failed.map(([, count]) => count));
  byId("methods").tBodies[0].replaceChildren(...failed.map(([method, count]) => {
    const share = Object.assign(element("progress"), { max: most, value: count });
    share.setAttribute("aria-label", `${method}: ${count} failed`);
    return row(name(method), String(count), share);
  }));

  const listed = Object.entries(countries).sort(([, one], [, other]) => other.failures - one.failures || other.successes - one.successes);
  byId("countries").tBodies[0].replaceChildren(...listed.slice(0, COUNTRIES_MAX).map(([country, counts]) => row(
    name(country), String(counts.successes), String(counts.failures), String(counts.recoveries),
  )));
  byId("more-countries").hidden = listed.length <= COUNTRIES_MAX;
  byId("more-countries").textContent = `and ${Math.max(0, listed.length - COUNTRIES_MAX)} more`;
  byId("updated").textContent = `as of ${new Date().toLocaleTimeString()}`;
};

// What a playbook decided about an alert: those who are locked, and why others are not, by reason.
const decided = ({ mode, decisions, escalation }) => {
  const made = element("small", mode === "act" ? "Playbook: " : "Playbook (dry run, nothing is done): ");
  const reasons = new Map();
  for (const decision of decisions) {
    const reason = `${decision.act} ${decision.why}`;
    reasons.set(reason, [...(reasons.get(reason) ?? []), decision]);
  }
  [...reasons.values()].forEach((alike, at) => {
    const [{ act, because }] = alike;
    made.append(at ? "; " : "", `${ACTS[act] ?? act} `);
    alike.slice(0, DECIDED_MAX).forEach((decision, number) => made.append(number ? ", " : "", name(decision.actor_id)));
    if (alike.length > DECIDED_MAX) made.append(` and ${alike.length - DECIDED_MAX} more`);
    made.append(` (${because})`);
  });
  if (decisions.length === 0) made.append("for people: it names nobody");
  if (escalation) made.append(`; people: ${stepped(escalation)}`);
  return made;
};

const ACTS = { lock: "lock", escalate: "for people:", leave: "leave" };
const DECIDED_MAX = 3;
const stepped = (step) => (step.state === "done" ? `told at ${clock(step.at)}` : step.state === "failed" ? `not told: ${step.why}` : "are being told");

const showLocks = (alerts) => {
  const locks = alerts.flatMap((alert) => (alert.playbook?.decisions ?? []).filter(({ act }) => act === "lock")
    .map((decision) => ({ ...decision, alert })));
  locks.sort((one, other) => (one.at < other.at ? 1 : -1));
  byId("locks-section").hidden = locks.length === 0;
  byId("locks").tBodies[0].replaceChildren(...locks.slice(0, LATEST_MAX).map(({ actor_id: actor, at, because, lock, alert }) => row(
    name(actor), clock(at), String(alert.name), because,
    !lock ? "dry run: not asked for" : lock.state === "done" ? `locked at ${clock(lock.at)}` : lock.state === "failed" ? `failed: ${lock.why}` : "being asked for",
  )));
};

const showAlerts = (found) => {
  showLocks(found?.alerts ?? []);
  const open = found ? found.alerts.filter((alert) => (alert.state ?? "opened") !== "closed") : [];
  byId("no-alerts").hidden = open.length > 0;
  byId("no-alerts").textContent = found ? "None." : "This service does not look for attacks: there are no alerts to show.";
  byId("no-alerts").className = found ? "good" : "warn";
  byId("alerts").replaceChildren(...open.slice(0, ALERTS_MAX).map((alert) => {
    const made = element("li");
    made.append(element("strong", String(alert.name ?? alert.rule ?? "alert")));
    if (alert.opened_at) made.append(` since ${clock(alert.opened_at)}`);
    const actors = (alert.actor_ids ?? []).map(String);
    if (actors.length > 0) {
      const who = element("small", "Actors: ");
      actors.slice(0, ACTORS_MAX).forEach((actor, at) => who.append(at ? ", " : "", name(actor)));
      const more = Math.max(actors.length, Number(alert.actors) || 0) - Math.min(actors.length, ACTORS_MAX);
      if (more > 0) who.append(` and ${more} more`);
      made.append(who);
    }
    if (alert.playbook) made.append(decided(alert.playbook));
    return made;
  }));
  return found ? open.length : undefined;
};

const latest = [];
const showEvent = (event) => {
  const what = element("span", event.event_type);
  const detail = event.failure_reason ?? event.lock_reason ?? event.recovery_method ?? event.mfa_method;
  if (detail) what.append(": ", name(detail));
  const from = [event.source_ip, event.geo_location?.country].filter(Boolean).join(" ");
  latest.unshift(row(what, clock(event.timestamp), name(event.actor_id), name(from)));
  latest.length = Math.min(latest.length, LATEST_MAX);
  byId("no-latest").hidden = true;
  byId("latest").hidden = false;
};

const headline = (text, className) => {
  byId("headline").textContent = text;
  byId("headline").className = className;
};

const ask = (why) => {
  byId("content").hidden = true;
  byId("login").hidden = false;
  byId("refused").textContent = why;
  headline("Who is asking?", "");
};

// Whoever is asked anew begins anew: what runs for the one before ends.
let run = 0;
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("key").value);
  byId("key").value = "";
  begin();
});

class Refused extends Error {}

const fetched = async (path, headers, signal) => {
  const key = sessionStorage.getItem("key");
  const answer = await fetch(path, { headers: { ...headers, authorization: `Bearer ${key}` }, cache: "no-store", signal });
  if (answer.status === 401 || answer.status === 403) throw new Refused();
  return answer;
};

const refresh = async () => {
  const [metrics, alerts] = await Promise.all([fetched("v1/metrics"), fetched("v1/alerts")]);
  if (!metrics.ok) throw new Error(`status ${metrics.status}`);
  const counted = await metrics.json();
  // 501 says that nothing is looked for, which is not the same as that nothing was found.
  if (!alerts.ok && alerts.status !== 501) throw new Error(`status ${alerts.status}`);
  const found = alerts.ok ? await alerts.json() : undefined;
  showMetrics(counted);
  const open = showAlerts(found);
  if (open > 0) headline(`✕ ${open} open ${open === 1 ? "alert" : "alerts"}`, "bad");
  else if (open === 0) headline("✓ No open alerts", "good");
  else headline("Live; attacks are not looked for", "");
  return counted.stream_offset;
};

// The service is never silent for longer than its heartbeat, 15 s: a connection that is has gone, and what is shown grows old.
const notSilent = (reader) => new Promise((read, failed) => {
  const timer = setTimeout(() => {
    failed(new Error("silent"));
    reader.cancel().catch(() => {});
  }, SILENCE_MS);
  reader.read().finally(() => clearTimeout(timer)).then(read, failed);
});

// Reads server-sent events: `fetch` can show a key, which EventSource cannot.
const listen = async (offset, own, onEvent) => {
  const answer = await fetched(`v1/stream?live=sse&offset=${encodeURIComponent(offset)}`, { accept: "text/event-stream" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await notSilent(reader);
    if (own !== run) return void reader.cancel();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const fields = new Map(text.slice(0, end).split("\n").map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
      }));
      text = text.slice(end + 2);
      if (fields.get("event") === "data") onEvent(JSON.parse(fields.get("data")), fields.get("id"));
    }
  }
};

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const begin = async () => {
  const own = ++run;
  if (!sessionStorage.getItem("key")) return ask("");
  let offset;
  while (own === run) {
    let beat;
    try {
      const counted = await refresh();
      offset ??= counted;
      let timer;
      let failed;
      const due = () => {
        timer = undefined;
        byId("latest").tBodies[0].replaceChildren(...latest);
        refresh().catch((error) => { failed = error; });
      };
      beat = setInterval(() => own === run && due(), BEAT_MS);
      await listen(offset, own, (event, id) => {
        if (failed) throw failed;
        offset = id;
        showEvent(event);
        timer ??= setTimeout(due, COUNTS_EVERY_MS);
      });
    } catch (error) {
      if (own !== run) return;
      if (error instanceof Refused) return ask("This key is refused.");
      // What is shown is old: that must be seen. Where the cursor no longer holds, the counts say where to go on.
      offset = error.message === "status 410" || error.message === "status 400" ? undefined : offset;
      headline(`✕ The service does not answer (${error.message}); what is shown is old`, "warn");
      await wait(AGAIN_MS);
    } finally {
      clearInterval(beat);
    }
  }
};
begin();
