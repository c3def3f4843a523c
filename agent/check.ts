/** What `podwire-agent check` says of what the agent has written. Pure. */
import { JsonError, parseJson } from "../lib/cni/json.ts";
import { textIn } from "./values.ts";

/** A run takes place every five minutes at least. After more than two of them without one the agent hangs. */
const SILENT_MS = 660_000;

/**
 * Why the network of the node is not as it should be, as one line; "" if it is.
 * @param status the status file's text, null for none
 * @param now milliseconds since 1970
 */
export function judgement(status: string | null, isRunning: boolean, now: number): string {
  if (!isRunning) return "the agent does not run";
  if (status === null) return "the agent has not written its status yet";
  try {
    const json = parseJson(new TextEncoder().encode(status));
    const written = json.kind === "object" ? textIn(json, "written") : "";
    if (written === "") return "the agent's status cannot be read";
    const at = json.get("writtenMs");
    if (at !== null && now - parseInt(at.text, 10) > SILENT_MS) return `the agent has not looked since ${written}`;
    return textIn(json, "problem").split("\n").join(" ");
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    return `the agent's status cannot be read: ${error.message}`;
  }
}
