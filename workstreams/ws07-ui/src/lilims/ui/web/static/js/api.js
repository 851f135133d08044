// Requests to the server, and answers that are followed. Knows addresses; must not know the document.

export class Failure extends Error {
  constructor(error) {
    super(error.message);
    this.hint = error.hint;
    this.code = error.code;
  }
}

async function ask(method, path, value) {
  const options = { method, headers: {}, cache: "no-store" };
  if (method !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(value ?? {});
  }
  let response;
  try {
    response = await fetch(`/web/api${path}`, options);
  } catch {
    throw new Failure({ message: "lilims does not answer.", hint: "Is `lilims serve` still running?" });
  }
  const type = response.headers.get("content-type") || "";
  const answer = type.includes("json") ? await response.json() : {};
  if (response.ok) return answer;
  throw new Failure(answer.error?.message ? answer.error : { message: `The server said ${response.status}.`, code: String(response.status) });
}

export const get = (path) => ask("GET", path);
export const post = (path, value) => ask("POST", path, value);
export const patch = (path, value) => ask("PATCH", path, value);
export const put = (path, value) => ask("PUT", path, value);
export const remove = (path) => ask("DELETE", path);

/**
 * Follows an answer from what is there of it. `part` gets what is new, `done` the message as it ended; the returned
 * function ends it. A lost connection is taken up where it broke.
 */
export function follow(message, { part, done }) {
  const offset = `${[...message.content].length}.${[...message.reasoning].length}`; // the server counts code points
  let source, timer, last = offset;
  const open = () => {
    source = new EventSource(`/web/api/messages/${message.id}/events?after=${last}`);
    source.addEventListener("part", (event) => { last = event.lastEventId; part(JSON.parse(event.data)); });
    source.addEventListener("done", (event) => { source.close(); done(JSON.parse(event.data).message); });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      timer = setTimeout(open, 2000);
    };
  };
  open();
  return () => { clearTimeout(timer); source.close(); };
}
