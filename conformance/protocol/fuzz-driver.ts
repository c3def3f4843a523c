/**
 * Runs one batch of fuzz inputs, one after the other, and prints what was wrong as JSON. `fuzz.sh` starts it inside mount
 * and network namespaces of its own, so that no input, however spoilt, can touch the machine.
 *
 * Arguments: seed, number of the first input, how many.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Execution, execute } from "../../testbed/starter.ts";
import { makePlaces, PLACES } from "./fuzz-places.ts";
import { type FuzzInput, makeInput } from "./mutations.ts";

interface Finding {
  readonly index: number;
  readonly problem: string;
  readonly plugin: string;
  readonly env: Record<string, string>;
  readonly stdin: string;
  readonly peers: string | null;
  readonly mutations: readonly string[];
  readonly stdout: string;
  readonly stderr: string;
}

interface Report {
  /** How many calls ended how: "ok ADD", "error 7". */
  readonly outcomes: Record<string, number>;
  readonly findings: readonly Finding[];
}

/** No input may take longer: a plugin never waits for anything without limit. */
const TIME_LIMIT_MS = 10_000;

const STORES = ["/var/lib/fuzz", "/var/lib/cni"];

async function main(): Promise<void> {
  const [seed, first, count] = process.argv.slice(2);
  makePlaces();
  /* A process inside shows its links without another program being started for every look. */
  const command = `nsenter --net=${PLACES.netns} sleep 600 >/dev/null 2>&1 & echo $!`;
  const watcher = Number(spawnSync("/bin/sh", ["-c", command], { encoding: "utf8" }).stdout.trim());
  try {
    const report = await runBatch(Number(seed), Number(first), Number(count), () => traces(watcher));
    process.stdout.write(JSON.stringify(report));
  } finally {
    process.kill(watcher);
  }
}

async function runBatch(seed: number, first: number, count: number, look: () => Traces): Promise<Report> {
  const outcomes: Record<string, number> = {};
  const findings: Finding[] = [];
  let before = look();
  for (let index = first; index < first + count; index += 1) {
    const input = makeInput(seed, index, PLACES);
    if (input.peers !== null) writeFileSync(PLACES.peersFile, input.peers);
    const result = await execute({
      file: join(PLACES.bin, input.plugin),
      args: [],
      env: input.env,
      stdin: input.stdin,
      timeoutMs: TIME_LIMIT_MS,
      cwd: "/",
    });
    const after = look();
    const { outcome, problem } = judge(input, result, before, after);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (problem !== "") findings.push(finding(index, problem, input, result));
    before = after;
  }
  return { outcomes, findings };
}

/** What one call came to, and what is wrong with it, "" if nothing is. */
function judge(
  input: FuzzInput,
  result: Execution,
  before: Traces,
  after: Traces,
): { outcome: string; problem: string } {
  if (result.signal !== null) return { outcome: "signal", problem: `ended by ${result.signal}` };
  const { exitCode, stdout: text } = result;
  if (exitCode !== 0 && exitCode !== 1) return { outcome: "status", problem: `exit status ${exitCode}` };
  let document: Record<string, unknown> | null = null;
  try {
    if (text !== "") document = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return { outcome: "no JSON", problem: "stdout is not one JSON document" };
  }
  const command = input.env.CNI_COMMAND ?? "";
  if (exitCode === 0) {
    const speaks = command === "ADD" || command === "VERSION";
    if (speaks !== (document !== null))
      return { outcome: "ok", problem: `exit status 0, ${speaks ? "nothing" : "something"} on stdout` };
    return { outcome: `ok ${command}`, problem: "" };
  }
  const code = document?.code;
  if (typeof code !== "number" || !Number.isInteger(code))
    return { outcome: "error", problem: "no error object with an integer code" };
  if (typeof document?.msg !== "string" || document.msg === "") return { outcome: "error", problem: "no message" };
  if (typeof document?.cniVersion !== "string" || document.cniVersion === "")
    return { outcome: "error", problem: "no cniVersion" };
  if (code === 999) return { outcome: "error 999", problem: "a defect: code 999" };
  /* DEL and GC go on past a failure on purpose; the others take back what they did. */
  /* What the overlay's delegate is given is read when the node's own device is there already. */
  const delegated = input.plugin === "vxlan-overlay" && input.stdin.includes("delegate");
  const strict = [4, 6, 7, 8].includes(code) && !delegated;
  const changed = command === "DEL" || command === "GC" ? "" : difference(before, after, input, strict);
  return { outcome: `error ${code}`, problem: changed === "" ? "" : `failed and changed: ${changed}` };
}

/** What calls leave behind. */
interface Traces {
  readonly hostLinks: readonly string[];
  readonly podLinks: readonly string[];
  readonly files: readonly string[];
  /** The lease files: whose each one is. */
  readonly leases: ReadonlyMap<string, string>;
}

function traces(watcher: number): Traces {
  const names = (path: string): string[] =>
    readFileSync(path, "utf8")
      .split("\n")
      .slice(2)
      .map((line) => (line.split(":")[0] ?? "").trim());
  const files = STORES.flatMap((store) => {
    try {
      return readdirSync(store, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
    } catch {
      return [];
    }
  });
  const leases = files.filter((file) => /\/[0-9a-f]+[.:][0-9a-f.:]+$/.test(file));
  return {
    hostLinks: names("/proc/self/net/dev"),
    podLinks: names(`/proc/${watcher}/net/dev`),
    files: files.sort(),
    leases: new Map(leases.map((file) => [file, readFileSync(file, "utf8")])),
  };
}

/**
 * What a failed call changed, "" if nothing that it must not: its own attachment may be gone with its leases, since a
 * failed ADD takes back, and a bridge may have come, since others may use it by now. With `strict` nothing at all.
 */
function difference(before: Traces, after: Traces, input: FuzzInput, strict: boolean): string {
  const owner = `${input.env.CNI_CONTAINERID}\r\n${input.env.CNI_IFNAME}`;
  const come = (old: readonly string[], now: readonly string[]): string[] => now.filter((item) => !old.includes(item));
  const changes = [
    ...come(before.podLinks, after.podLinks).map((name) => `new link in the pod: ${name}`),
    ...come(after.podLinks, before.podLinks).map((name) => `link gone from the pod: ${name}`),
    ...come(before.hostLinks, after.hostLinks)
      .filter((name) => strict || name.startsWith("veth"))
      .map((name) => `new link: ${name}`),
    ...come(after.hostLinks, before.hostLinks)
      .filter((name) => strict || !isReplaced(name, input.plugin))
      .map((name) => `link gone: ${name}`),
    ...come([...before.leases.keys()], [...after.leases.keys()]).map((file) => `new lease: ${file}`),
    ...come([...after.leases.keys()], [...before.leases.keys()])
      .filter((file) => before.leases.get(file) !== owner)
      .map((file) => `lease of another lost: ${file}`),
    ...(strict ? come(before.files, after.files).map((file) => `new file: ${file}`) : []),
  ];
  return changes.join(", ");
}

/** Links that go with another configuration: the overlay's former VNI, limits of the attachment's former ADD. */
function isReplaced(name: string, plugin: string): boolean {
  return (
    (plugin === "vxlan-overlay" && name.startsWith("overlay")) || (plugin === "bandwidth" && name.startsWith("ifb"))
  );
}

function finding(index: number, problem: string, input: FuzzInput, result: Execution): Finding {
  return {
    index,
    problem,
    plugin: input.plugin,
    env: input.env,
    stdin: input.stdin.toString("latin1").slice(0, 4000),
    peers: input.peers?.toString("latin1") ?? null,
    mutations: input.mutations,
    stdout: result.stdout.slice(0, 1000),
    stderr: result.stderr.slice(0, 1000),
  };
}

await main();
