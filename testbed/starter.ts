/** Runs programs to their end through starter.py, which costs a test a fraction of what Node's own start does. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { execa } from "execa";

/** How long a program that was told to end may take. */
const GRACE_S = 5;
const NEWLINE = 10;
const PYTHON = "/usr/bin/python3";

/** How a program ended, and what it said. */
export interface Execution {
  /** The exit status; null if a signal ended it, or it could not be started: then `stderr` says why. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program to run to its end. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly stdin: string | Uint8Array;
  /** After that it gets SIGTERM. */
  readonly timeoutMs: number;
  /** That of this process if left out. */
  readonly cwd?: string | undefined;
}

/** An answer's line: lengths of what follows in bytes, and how the program ended, negative for a signal's number. */
interface Head {
  readonly id: number;
  readonly output: number;
  readonly errors: number;
  readonly status?: number;
  readonly failed?: string;
}

/** Of two names for one number the usual one, which comes first, counts. */
const SIGNALS = new Map(
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number, name]),
);

class Starter {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, (execution: Execution) => void>();
  #chunks: Buffer[] = [];
  #length = 0;
  /** How many bytes make the answer that is on its way complete; 0 while its line is not. */
  #wanted = 0;
  #serial = 0;

  constructor() {
    const script = fileURLToPath(new URL("starter.py", import.meta.url));
    this.#process = spawn(PYTHON, ["-I", "-S", script], { stdio: ["pipe", "pipe", "inherit"] });
    this.#process.stdout.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#process.on("close", () => this.#end());
    this.#process.on("error", () => this.#end());
    this.#process.stdin.on("error", () => {});
    this.#hold(false);
  }

  get works(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async run(command: Command): Promise<Execution> {
    this.#serial += 1;
    const id = this.#serial;
    const stdin = Buffer.from(command.stdin);
    const head = {
      id,
      words: [command.file, ...command.args],
      env: command.env,
      cwd: command.cwd ?? process.cwd(),
      timeout: command.timeoutMs / 1000,
      grace: GRACE_S,
      input: stdin.length,
    };
    return new Promise((done) => {
      if (this.#waiting.size === 0) this.#hold(true);
      this.#waiting.set(id, done);
      this.#process.stdin.write(Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), stdin]));
    });
  }

  /** Whether it keeps this process alive: while something is waited for. */
  #hold(held: boolean): void {
    for (const part of [this.#process, this.#process.stdin, this.#process.stdout]) {
      const handle = part as unknown as { ref(): void; unref(): void };
      if (held) handle.ref();
      else handle.unref();
    }
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    while (this.#length > 0 && this.#length >= this.#wanted) {
      const all = Buffer.concat(this.#chunks);
      const end = all.indexOf(NEWLINE) + 1;
      const head = end === 0 ? null : (JSON.parse(all.subarray(0, end).toString()) as Head);
      this.#wanted = head === null ? 0 : end + head.output + head.errors;
      const whole = head !== null && all.length >= this.#wanted;
      const rest = whole ? all.subarray(this.#wanted) : all;
      this.#chunks = [rest];
      this.#length = rest.length;
      if (!whole) return;
      const printed = all.subarray(end, this.#wanted);
      this.#wanted = 0;
      this.#answer(head, printed.subarray(0, head.output).toString(), printed.subarray(head.output).toString());
    }
  }

  #answer(head: Head, stdout: string, stderr: string): void {
    const done = this.#waiting.get(head.id);
    this.#waiting.delete(head.id);
    if (this.#waiting.size === 0) this.#hold(false);
    const { status, failed } = head;
    if (status === undefined) done?.({ exitCode: null, signal: null, stdout: "", stderr: failed ?? "" });
    else if (status >= 0) done?.({ exitCode: status, signal: null, stdout, stderr });
    else done?.({ exitCode: null, signal: SIGNALS.get(-status) ?? `signal ${-status}`, stdout, stderr });
  }

  #end(): void {
    for (const done of this.#waiting.values()) {
      done({ exitCode: null, signal: null, stdout: "", stderr: "what starts programs has ended" });
    }
    this.#waiting.clear();
  }
}

let starter: Starter | null = null;

/**
 * Runs a program to its end. Never throws because of what the program does, or that there is none. Where there is no Python,
 * as on a machine that runs the demos alone, Node starts it.
 */
export async function execute(command: Command): Promise<Execution> {
  if (!existsSync(PYTHON)) return executeDirectly(command);
  if (starter === null || !starter.works) starter = new Starter();
  return starter.run(command);
}

async function executeDirectly({
  file,
  args,
  env,
  stdin,
  timeoutMs,
  cwd = process.cwd(),
}: Command): Promise<Execution> {
  const { exitCode, signal, stdout, stderr, shortMessage } = await execa(file, args, {
    ...{ env, extendEnv: false, input: stdin, timeout: timeoutMs, forceKillAfterDelay: GRACE_S * 1000, cwd },
    ...{ reject: false, stripFinalNewline: false },
  });
  if (exitCode === undefined && signal === undefined) {
    return { exitCode: null, signal: null, stdout: "", stderr: shortMessage ?? "" };
  }
  return { exitCode: exitCode ?? null, signal: signal ?? null, stdout, stderr };
}
