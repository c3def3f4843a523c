/** Answers of a server that is broken or means harm. */
import type { Answer } from "./answer.ts";
import type { Effect } from "./faults.ts";

const FILLER = "a".repeat(4096);

/** Sends what an effect says instead of an answer. @returns false if it says nothing of that */
export async function sendHostile(answer: Answer, effect: Effect): Promise<boolean> {
  if (effect.endless !== undefined) await endless(answer, effect.endless);
  else if (effect.nesting !== undefined) await sendBody(answer, nested(effect.nesting), effect);
  else if (effect.body !== undefined) await sendBody(answer, effect.body, effect);
  else return false;
  return true;
}

async function sendBody(answer: Answer, text: string, { lengthError = 0 }: Effect): Promise<void> {
  const body = Buffer.from(text);
  await answer.whole(200, [["Content-Type", "application/json"]], body, body.length + lengthError);
}

function nested(depth: number): string {
  return `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[${'{"a":['.repeat(depth)}${"]}".repeat(depth)}]}\n`;
}

/** Goes on until the client has had enough. @throws Gone */
async function endless(answer: Answer, what: "header" | "header line" | "body"): Promise<never> {
  const { wire, record } = answer;
  record.status = 200;
  if (what === "body") {
    answer.begin(200, [["Content-Type", "application/json"]]);
    const start =
      record.verb === "watch" ? '{"type":"ADDED","object":{"kind":"Node","x":"' : '{"kind":"NodeList","x":"';
    await answer.write(Buffer.from(start));
    for (;;) await answer.write(Buffer.from(FILLER));
  }
  await wire.head(Buffer.from("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Filler: "));
  for (;;) {
    record.bytes += FILLER.length;
    await wire.send(Buffer.from(what === "header" ? `${FILLER}\r\nX-Filler: ` : FILLER));
  }
}
