// The tree of a conversation's messages. Pure functions.

/** Messages of the branch that ends in `leaf`, first one first. */
export function branch(messages, leaf) {
  const known = new Map(messages.map((message) => [message.id, message]));
  const path = [];
  for (let at = known.get(leaf); at && path.length < known.size; at = known.get(at.parent)) path.push(at);
  return path.reverse();
}

/** Messages that stand beside this one, itself among them. */
export const siblings = (messages, message) =>
  messages.filter((other) => other.parent === message.parent && other.role === message.role);

/** The end of the branch below a message that was written last; `messages` are in the order in which they were written. */
export function newest(messages, id) {
  const below = new Set([id]);
  let last = id;
  for (const message of messages) {
    if (!below.has(message.parent)) continue;
    below.add(message.id);
    last = message.id;
  }
  return last;
}

export const UNFINISHED = new Set(["stopped", "interrupted", "failed"]);

/** Whether an answer can go on. */
export const canGoOn = (message) =>
  message.role === "assistant" && (UNFINISHED.has(message.status) || (message.status === "complete" && message.statistics?.finish_reason === "length"));
