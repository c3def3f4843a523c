/** What the demos have in common: showing commands as they could be typed, calling plugins, and the sandbox around it all. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { execa } from "execa";
import { restrictPath } from "./programs/list.ts";
import { furnishSandbox, inSandbox, runInSandbox } from "./sandbox.ts";

export type Json = Record<string, unknown>;
/** What a plugin call came to. */
export interface Outcome {
  readonly status: number;
  readonly answer: Json | null;
  readonly text: string;
}

const repository = resolve(import.meta.dirname, "..");
/** The directory of the plugins: the demo's parameter, bin/ if left out. */
export const plugins = resolve(process.argv[2] ?? join(repository, "bin"));

const colour = process.stdout.isTTY === true || process.env.FORCE_COLOR !== undefined;
export const paint = (code: number, text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
export const heading = (text: string) => console.log(`\n${paint(1, text)}`);
export const say = (text: string) => console.log(text);
/** Shows a command as it is typed in this repository: "./bin/bridge" for the path of a plugin. */
export const typed = (text: string) => console.log(paint(36, `  $ ${text.replaceAll(`${repository}/`, "./")}`));
export const printed = (text: string) => {
  for (const line of text.trimEnd().split("\n")) console.log(paint(2, `    ${line}`));
};
export const good = (text: string) => console.log(paint(32, `  ok: ${text}`));

/** What went wrong, in words for the reader. */
export class Failed extends Error {}

export function mustSucceed(outcome: Outcome, what: string): void {
  if (outcome.status !== 0) throw new Failed(`${what} failed with status ${outcome.status}:\n${outcome.text}`);
}

/** Runs a command of the machine, shows it as typed, and what it printed if asked to. */
export async function shell(command: string, show: (output: string) => string = () => ""): Promise<string> {
  typed(command);
  const { all, exitCode } = await execa("sh", ["-c", command], { all: true, reject: false, stdin: "ignore" });
  if (exitCode !== 0) throw new Failed(`this command failed with status ${exitCode}: ${command}\n${all}`);
  const output = show(all);
  if (output !== "") printed(output);
  return all;
}

/** Calls plugins as the specification says: the request in CNI_*, the configuration on standard input. */
export class Caller {
  /** How many calls there were. */
  calls = 0;
  readonly #root: string;

  /** @param root a directory for the configurations as the plugins got them */
  constructor(root: string) {
    this.#root = root;
  }

  /** The file of a call's configuration: a number and the verb. */
  inputOf(number: number, verb: string): string {
    return join(this.#root, "calls", `${number}-${verb}.json`);
  }

  /** @param node the named network namespace that stands for the node; "" is the machine itself */
  async call(verb: string, type: string, config: Json, attachment: Json, node = "", quiet = false): Promise<Outcome> {
    this.calls += 1;
    const input = this.inputOf(this.calls, verb);
    await mkdir(dirname(input), { recursive: true });
    await writeFile(input, `${JSON.stringify(config)}\n`);
    const env = { CNI_COMMAND: verb, ...attachment, CNI_PATH: plugins } as Record<string, string>;
    const file = join(plugins, type);
    if (!quiet) typed(commandLine(env, file, input, node));
    const [command = "", ...words] = node === "" ? [file] : ["ip", "netns", "exec", node, file];
    const { stdout, stderr, exitCode } = await execa(command, words, {
      env: { ...env, PATH: process.env.PATH ?? "" },
      extendEnv: false,
      inputFile: input,
      reject: false,
      timeout: 20_000,
    });
    const answer = stdout === "" ? null : (JSON.parse(stdout) as Json);
    return { status: exitCode ?? -1, answer, text: stdout === "" ? stderr : stdout };
  }
}

/** A call as one would type it. */
function commandLine(env: Record<string, string>, file: string, input: string, node: string): string {
  const words = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const inside = node === "" ? [] : ["ip netns exec", node];
  return [words.slice(0, 3), words.slice(3), [...inside, file, "<", input]]
    .filter((line) => line.length > 0)
    .map((line) => line.join(" "))
    .join(" \\\n      ");
}

/** JSON with one line for each interface, address and route. */
export function compact(value: Json | null): string {
  if (value === null) return "(nothing)";
  const lines = Object.entries(value).map(([key, item]) => {
    if (!Array.isArray(item)) return `  ${JSON.stringify(key)}: ${JSON.stringify(item)}`;
    const items = item.map((element) => `    ${JSON.stringify(element)}`);
    return `  ${JSON.stringify(key)}: [\n${items.join(",\n")}\n  ]`;
  });
  return `{\n${lines.join(",\n")}\n}`;
}

/** A program in a namespace that tells everybody who connects whom it sees. Returns how to end it. */
export async function listen(name: string, port: number, quiet = false): Promise<() => void> {
  const script =
    `require("net").createServer((s) => s.end("${name} sees " + s.remoteAddress.replace("::ffff:", "") + "\\n"))` +
    `.listen(${port}, "::", () => console.log("listening"))`;
  if (!quiet) typed(`ip netns exec ${name} node -e '${script}' &`);
  const server = execa("ip", ["netns", "exec", name, process.execPath, "-e", script], {
    stdin: "ignore",
    reject: false,
  });
  await Promise.race([new Promise((ready) => server.stdout.once("data", ready)), server]);
  return () => server.kill();
}

/** Connects from a namespace ("" is the node itself) and shows what is answered, which must contain `expected`. */
export async function ask(name: string, address: string, port: number, expected: string): Promise<void> {
  const command = `timeout 5 bash -c 'cat < /dev/tcp/${address}/${port}'`;
  const answer = await shell(name === "" ? command : `ip netns exec ${name} ${command}`, (output) => output);
  if (!answer.includes(expected)) throw new Failed(`expected "${expected}", got "${answer}"`);
}

/** Sends a packet from a namespace, which must be answered. */
export async function reach(name: string, address: string): Promise<void> {
  const answer = (output: string) => output.split("\n").find((line) => line.includes("bytes from"));
  await shell(`ip netns exec ${name} ping -c 1 -W 5 ${address}`, (output) => answer(output) ?? output);
}

/** Sends a packet from a namespace, which must not be answered. */
export async function mustNotReach(name: string, address: string): Promise<void> {
  await shell(`ip netns exec ${name} ping -c 1 -W 1 ${address} || true`, (output) => {
    if (output.includes("bytes from")) throw new Failed(`${address} still answers`);
    return output.split("\n").find((line) => /packet loss|Unreachable/.test(line)) ?? output;
  });
}

/** A ping that goes on until it is ended. */
export class Traffic {
  readonly #ping;

  /** @param name the namespace that sends @param address who must answer */
  constructor(name: string, address: string) {
    const command = ["netns", "exec", name, "ping", "-q", "-i", "0.02", address];
    typed(`ip ${command.join(" ")} &`);
    this.#ping = execa("ip", command, { reject: false, stdin: "ignore" });
  }

  /** Ends it; nothing may have been lost. */
  async end(): Promise<void> {
    typed("kill -INT $!");
    this.#ping.kill("SIGINT");
    const { stdout } = await this.#ping;
    const line = stdout.split("\n").find((one) => one.includes("packets transmitted")) ?? stdout;
    printed(line);
    const [, sent = "0", received = "-1"] = /(\d+) packets transmitted, (\d+) received/.exec(line) ?? [];
    /* The last one may have had no time to come back. */
    if (Number(sent) - Number(received) > 1 || Number(received) < 1) throw new Failed("packets were lost");
  }
}

/**
 * Runs a demo in a machine within the machine and ends this process with its status.
 * @param script the demo's file
 * @param theirs what the machine's own links, addresses, routes and namespaces must not get to have
 */
export async function perform(script: string, theirs: RegExp, demonstrate: () => Promise<void>): Promise<never> {
  return process.exit(await (inSandbox() ? inside(demonstrate) : outside(script, theirs)));
}

async function inside(demonstrate: () => Promise<void>): Promise<number> {
  await furnishSandbox();
  const interrupted = new Promise<number>((done) => {
    const stop = () => {
      console.log("\ninterrupted: the machine within the machine goes, and everything in it");
      done(130);
    };
    process.on("SIGINT", stop);
    process.on("SIGTERM", stop);
  });
  const finished = demonstrate().then(
    () => 0,
    (error: unknown) => {
      console.error(paint(31, `\n${error instanceof Failed ? error.message : String(error)}`));
      return 1;
    },
  );
  return Promise.race([finished, interrupted]);
}

/** What the machine itself has of the demo's names: it may have other pods come and go meanwhile. */
async function tracesOutside(theirs: RegExp): Promise<string> {
  const commands = ["ip -o link show", "ip netns list", "ip -o address show", "ip route show table all"];
  const outputs = commands.map((command) => execa("sh", ["-c", command], { reject: false, stdin: "ignore" }));
  const lines = (await Promise.all(outputs)).flatMap((output) => output.stdout.split("\n"));
  return lines.filter((line) => theirs.test(line)).join("\n");
}

async function outside(script: string, theirs: RegExp): Promise<number> {
  let interrupted = false;
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => (interrupted = true));
  const freePath = await restrictPath(["demo"]);
  const before = await tracesOutside(theirs);
  const status = interrupted ? 130 : await runInSandbox(script, process.argv.slice(2));
  const after = await tracesOutside(theirs);
  await freePath();
  if (after !== before) {
    console.error(`the machine itself has changed meanwhile:\n${after}`);
    return 1;
  }
  if (status === 0) say(`\nYour machine: no link, address, route or namespace has come of this. ${paint(1, "Done.")}`);
  return status;
}
