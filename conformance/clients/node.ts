/**
 * A node of its own for real container runtimes: network, mounts and processes apart from the machine's, a disk that
 * outlives a reboot, and a directory of plugins that can be swapped.
 *
 * Its first process reads a pipe from the test process. When that dies, however it does, the pipe ends, the first
 * process with it, and the kernel kills whatever runs on the node. What is left then lies in one directory called
 * `pwt-<pid>-...` and in control groups of that name; the next run removes both.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { execa, type Options } from "execa";
import type { JsonObject } from "../../testbed/harness.ts";
import { ownerIsAlive, ownerOf } from "../../testbed/machine.ts";

/**
 * The address by which other nodes would know this one, on a link that leads nowhere; `cat` keeps the shell waiting for its
 * children, so orphans are reaped.
 */
const FIRST_PROCESS = `set -e
dir=$1
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount --bind "$dir/disk/var-lib" /var/lib
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
ip link set lo up
ip link add underlay type veth peer name wire
ip address add 192.0.2.11/24 dev underlay
ip link set underlay up
ip link set wire up
echo ready
cat >/dev/null || true
`;

/** What a program on the node left behind: exit status and output. */
export interface Outcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs on the node until it is killed. */
export interface Daemon {
  /** Its number in the node's process namespace. */
  readonly pid: number;
  readonly logFile: string;
}

export class Node {
  /** Everything the node has on the machine's disk. Short, for the sake of sockets' paths. */
  readonly directory: string;
  readonly #environment: Record<string, string>;
  #first: ChildProcess | null = null;
  #pid = 0;

  private constructor(directory: string, path: readonly string[]) {
    this.directory = directory;
    this.#environment = {
      PATH: [...path, "/usr/sbin", "/usr/bin", "/sbin", "/bin"].join(":"),
      HOME: join(directory, "home"),
      LC_ALL: "C",
    };
  }

  /** @param path directories to look for programs in before the machine's own */
  static async create(path: readonly string[] = []): Promise<Node> {
    const node = new Node(await mkdtemp(join(tmpdir(), `pwt-${process.pid}-`)), path);
    for (const name of ["disk/var-lib/cni", "home", "bin", "net.d"])
      await mkdir(join(node.directory, name), { recursive: true });
    await node.boot();
    return node;
  }

  /** Where the plugins are: CNI_PATH. */
  get bin(): string {
    return join(this.directory, "bin");
  }

  /** Where networks are configured. */
  get confDir(): string {
    return join(this.directory, "net.d");
  }

  /** What outlives a reboot. */
  get disk(): string {
    return join(this.directory, "disk");
  }

  /** The name of a control group for all that runs here. */
  get cgroup(): string {
    return basename(this.directory);
  }

  /** Starts the node: empty /run, new namespaces, another boot ID; the disk as it was. */
  async boot(): Promise<void> {
    await writeFile(join(this.directory, "boot_id"), `${randomUUID()}\n`);
    const first = spawn(
      "unshare",
      [
        ...["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"],
        ...["bash", "-c", FIRST_PROCESS, "node", this.directory],
      ],
      { env: this.#environment },
    );
    this.#first = first;
    await new Promise<void>((resolve, reject) => {
      let complaint = "";
      first.stderr.on("data", (chunk) => {
        complaint += String(chunk);
      });
      first.stdout.once("data", () => resolve());
      first.once("error", reject);
      first.once("exit", (status) => reject(new Error(`the node did not start: ${complaint || status}`)));
    });
    const children = await readFile(`/proc/${first.pid}/task/${first.pid}/children`, "utf8");
    this.#pid = Number(children.trim().split(" ")[0]);
  }

  /** Ends the node as a power cut does: all processes and namespaces at once. */
  async powerOff(): Promise<void> {
    const first = this.#first;
    if (first === null) return;
    this.#first = null;
    if (first.exitCode === null && first.signalCode === null) {
      const ended = new Promise((resolve) => first.once("exit", resolve));
      first.kill("SIGKILL");
      await ended;
    }
    /* The kernel takes the namespaces down after the processes. */
    for (let tries = 0; tries < 100 && (await alive(this.#pid)); tries += 1) await sleep(20);
  }

  /** Ends the node and removes what it had. */
  async remove(): Promise<void> {
    await this.powerOff();
    await removeCgroups((name) => name === this.cgroup);
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Runs a program on the node; its failure is the caller's to judge. */
  async run(command: string, args: readonly string[] = [], options: Options = {}): Promise<Outcome> {
    const result = await execa("nsenter", [...this.#enter(), command, ...args], {
      env: this.#environment,
      extendEnv: false,
      reject: false,
      timeout: 120_000,
      ...options,
    });
    return {
      exitCode: result.exitCode ?? null,
      stdout: String(result.stdout ?? ""),
      stderr: String(result.stderr ?? ""),
    };
  }

  /** Runs a program on the node that has to succeed; returns its standard output. */
  async exec(command: string, args: readonly string[] = [], options: Options = {}): Promise<string> {
    const outcome = await this.run(command, args, options);
    if (outcome.exitCode !== 0)
      throw new Error(`${command} ${args.join(" ")}: ${outcome.exitCode}: ${outcome.stderr || outcome.stdout}`);
    return outcome.stdout;
  }

  /** Runs `ip -j -d ARGS` on the node. */
  async query(...args: string[]): Promise<JsonObject[]> {
    const text = await this.exec("ip", ["-j", "-d", ...args]);
    const items = text.trim() === "" ? [] : (JSON.parse(text) as JsonObject[]);
    return items.filter((item) => Object.keys(item).length > 0);
  }

  /** Starts a program that stays. */
  async start(name: string, command: string, args: readonly string[]): Promise<Daemon> {
    const logFile = join(this.directory, `${name}.log`);
    const pidFile = join(this.directory, `${name}.pid`);
    await rm(pidFile, { force: true });
    const log = await open(logFile, "a");
    const script = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"';
    spawn("nsenter", [...this.#enter(), "sh", "-c", script, pidFile, command, ...args], {
      env: this.#environment,
      stdio: ["ignore", log.fd, log.fd],
    }).unref();
    for (let tries = 0; tries < 200; tries += 1) {
      const pid = await readFile(pidFile, "utf8").catch(() => "");
      if (pid !== "") {
        await log.close();
        return { pid: Number(pid), logFile };
      }
      await sleep(25);
    }
    await log.close();
    throw new Error(`${name} did not start: ${await readFile(logFile, "utf8")}`);
  }

  /** Kills a program that `start` started, and waits until it is gone. */
  async kill(daemon: Daemon): Promise<void> {
    await this.run("sh", [
      "-c",
      `kill -KILL ${daemon.pid}; while kill -0 ${daemon.pid} 2>/dev/null; do sleep 0.02; done`,
    ]);
  }

  /** Puts plugins in place of those that are there, each in one step, as an installer on a node in use does. */
  async install(directory: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      await copyFile(join(directory, name), join(this.bin, `.${name}.new`));
      await rename(join(this.bin, `.${name}.new`), join(this.bin, name));
    }
  }

  /** Writes a network's configuration list. */
  async configure(file: string, list: unknown): Promise<void> {
    await writeFile(join(this.confDir, file), JSON.stringify(list, null, 2));
  }

  #enter(): string[] {
    return [`--target=${this.#pid}`, "--net", "--mount", "--pid", "--"];
  }
}

/** Removes what killed runs left: control groups; directories and namespaces are the harness's. */
export async function removeStaleCgroups(): Promise<void> {
  await removeCgroups((name) => ownerOf(name) !== null && !ownerIsAlive(name));
}

const CGROUPS = "/sys/fs/cgroup";

async function removeCgroups(isMeant: (name: string) => boolean): Promise<void> {
  const hierarchies = [CGROUPS];
  for (const entry of await readdir(CGROUPS, { withFileTypes: true }).catch(() => []))
    if (entry.isDirectory()) hierarchies.push(join(CGROUPS, entry.name));
  for (const hierarchy of hierarchies)
    for (const name of await directoriesIn(hierarchy)) if (isMeant(name)) await removeTree(join(hierarchy, name));
}

/** A control group's directory goes when those inside it are gone; its files need not and cannot be removed. */
async function removeTree(path: string): Promise<void> {
  for (const name of await directoriesIn(path)) await removeTree(join(path, name));
  for (let tries = 0; tries < 50; tries += 1) {
    const done = await rmdir(path).then(
      () => true,
      () => false,
    );
    if (done) return;
    await sleep(20);
  }
}

async function directoriesIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

async function alive(pid: number): Promise<boolean> {
  return readFile(`/proc/${pid}/stat`).then(
    () => true,
    () => false,
  );
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
