/** The agent's log on standard error: a line for each change, for people or as JSON. */
import { formatJsonLine, jsonObject, jsonString } from "../lib/cni/json.ts";
import { warn } from "../lib/host/io.ts";
import { withoutControls } from "../lib/text.ts";

export type Format = "text" | "json";
type Level = "info" | "warning" | "error";

export class Log {
  readonly #format: Format;
  /** What was said last under a name: a state that lasts is said once. */
  readonly #last = new Map<string, string>();

  constructor(format: Format) {
    this.#format = format;
  }

  info(message: string): void {
    this.#write("info", message);
  }

  warning(message: string): void {
    this.#write("warning", message);
  }

  error(message: string): void {
    this.#write("error", message);
  }

  /**
   * Says what is wrong with something if that has changed.
   * @param problem "" if nothing is
   * @param solved what to say when nothing is wrong any more
   * @returns whether anything was said
   */
  state(name: string, problem: string, solved: string): boolean {
    const before = this.#last.get(name) ?? "";
    if (problem === before) return false;
    this.#last.set(name, problem);
    if (problem !== "") this.warning(problem);
    else this.info(solved);
    return true;
  }

  #write(level: Level, message: string): void {
    const time = new Date().toISOString();
    warn(
      this.#format === "json"
        ? `${jsonLine(time, level, message)}\n`
        : `${time} ${level} ${withoutControls(message)}\n`,
    );
  }
}

function jsonLine(time: string, level: Level, message: string): string {
  const json = jsonObject()
    .with("time", jsonString(time))
    .with("level", jsonString(level))
    .with("message", jsonString(message));
  return formatJsonLine(json);
}
