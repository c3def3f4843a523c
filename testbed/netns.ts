/**
 * Network namespaces to do things in. They are named `pwt-<pid>-...`, as temporary directories are, so that leftovers of a
 * killed run are recognised and removed by the next one.
 */
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type JsonObject, type RunOptions, runProgram } from "./call.ts";
import { ownerIsAlive, ownerOf } from "./machine.ts";

/** Where plugins keep what the kernel cannot hold. */
const RUNTIME_DIRECTORY = "/run/podwire";

let serial = 0;

/** A network namespace of its own, named by `ip netns`. */
export class Netns {
  readonly name: string;
  /** What a runtime passes as CNI_NETNS. */
  readonly path: string;

  private constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** @param label appears in the name, at most a few letters */
  static async create(label = "pod"): Promise<Netns> {
    serial += 1;
    const unique = Math.floor(Math.random() * 0xffff).toString(16);
    const namespace = new Netns(`pwt-${process.pid}-${label}-${serial}-${unique}`);
    await runProgram("ip", ["netns", "add", namespace.name]);
    return namespace;
  }

  /** A namespace of just this name, for a machine within the machine, where nobody else's are. */
  static async named(name: string): Promise<Netns> {
    await runProgram("ip", ["netns", "add", name]);
    return new Netns(name);
  }

  /**
   * Removes it; the interfaces in it go with it, and so do the files that plugins keep for it on tmpfs, which a reboot
   * would take. Removing twice is no failure.
   */
  async remove(): Promise<void> {
    await removeNamespace(this.name);
  }

  /** Runs a command inside; fails if the command does. Returns what it prints, without the last newline. */
  async exec(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<string> {
    /* One program less where it can enter by itself. */
    const [file, words] =
      command === "ip"
        ? ["ip", ["-n", this.name, ...args]]
        : ["nsenter", [`--net=${this.path}`, "--", command, ...args]];
    const { stdout } = await runProgram(file, words, options);
    return stdout.replace(/\n$/, "");
  }

  /** Runs `ip ARGS` inside. */
  async ip(...args: string[]): Promise<string> {
    return this.exec("ip", args);
  }

  /** Gives a link another name. Before Linux 6.2 one that is up keeps its own. */
  async rename(link: string, name: string): Promise<void> {
    await this.ip("link", "set", link, "down");
    await this.ip("link", "set", link, "name", name);
    await this.ip("link", "set", name, "up");
  }

  /** Runs `ip -j ARGS` inside and returns what it tells: `query("addr", "show", "dev", "eth0")`. */
  async query(...args: string[]): Promise<JsonObject[]> {
    const text = await this.exec("ip", ["-j", "-d", ...args]);
    return text.trim() === "" ? [] : (JSON.parse(text) as JsonObject[]).filter((item) => Object.keys(item).length > 0);
  }

  /** The names of the links inside. */
  async links(): Promise<string[]> {
    return (await this.query("link", "show")).map((link) => String(link.ifname)).sort();
  }

  /** Whether an address answers from inside, within a number of seconds. */
  async ping(address: string, seconds = 6): Promise<boolean> {
    /* With -w it sends one each second until the first answer: while the neighbour is resolved, packets may be lost. */
    const ping = ["ping", "-n", "-c", "1", "-w", `${seconds}`, address];
    const result = await runProgram("nsenter", [`--net=${this.path}`, "--", ...ping], { reject: false });
    return result.exitCode === 0;
  }

  /** Reads a sysctl inside: "net/ipv4/ip_forward". */
  async sysctl(key: string): Promise<string> {
    return (await this.exec("cat", [`/proc/sys/${key}`])).trim();
  }
}

async function removeNamespace(name: string): Promise<void> {
  const status = await stat(join("/run/netns", name)).catch(() => null);
  /* First, because its number may be another one's a moment later. */
  for (const file of status === null ? [] : [`net-${status.ino}`, `overlay-${status.ino}`]) {
    await rm(join(RUNTIME_DIRECTORY, file), { recursive: true, force: true });
  }
  await runProgram("ip", ["netns", "del", name], { reject: false });
}

/** Removes what runs that were killed left: their process is gone, and namespace or directory is some minutes old. */
export async function removeStale(): Promise<void> {
  for (const path of await staleIn("/run/netns")) await removeNamespace(basename(path));
  for (const path of await staleIn(tmpdir())) await rm(path, { recursive: true, force: true });
}

async function staleIn(directory: string): Promise<string[]> {
  const stale: string[] = [];
  for (const name of await readdir(directory).catch(() => [] as string[])) {
    if (ownerOf(name) === null || ownerIsAlive(name)) continue;
    const path = join(directory, name);
    const status = await stat(path).catch(() => null);
    if (status === null || Date.now() - status.ctimeMs >= 3 * 60_000) stale.push(path);
  }
  return stale;
}

/** A temporary directory; the caller removes it. */
export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), `pwt-${process.pid}-`));
}
