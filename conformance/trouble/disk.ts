/** A small file system of its own in the place of a directory, seen by the plugins of one test alone. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { until } from "../../testbed/harness.ts";

const SIZE = "256k";
/** More inodes than a test's attachments need. */
const INODES = 64;
/** Files that take up space begin like this. */
const FILLER = "filler";

export type Ailment = "full" | "without inodes" | "read-only";

/** A mount namespace with a tmpfs at one place, which goes with the process that holds it. */
export class Disk {
  readonly #path: string;
  readonly #holder: ChildProcess;

  private constructor(path: string, holder: ChildProcess) {
    this.#path = path;
    this.#holder = holder;
  }

  /** @param path a directory, made if it is missing */
  static async mount(path: string): Promise<Disk> {
    await mkdir(path, { recursive: true });
    /* What is mounted outside later on, such as the namespaces of pods, is seen inside; nothing the other way round. */
    const script = 'mount -t tmpfs -o "size=$1,nr_inodes=$2,mode=755" none "$0" && exec sleep 600';
    const args = ["--mount", "--propagation", "slave", "sh", "-c", script, path, SIZE, String(INODES)];
    const disk = new Disk(path, spawn("unshare", args, { stdio: "ignore" }));
    if (await until(() => disk.#isThere(), 5000)) return disk;
    await disk.remove();
    throw new Error(`no tmpfs at ${path}`);
  }

  async #isThere(): Promise<boolean> {
    const [program = "", ...args] = [...this.through, "stat", "-f", "-c", "%T %b", this.#path];
    const { stdout } = await execa(program, args, { reject: false });
    /* Of 64 pages: neither the machine's own tmpfs at that place nor one above. */
    return String(stdout) === "tmpfs 64";
  }

  /** Starts a plugin where the disk is. */
  get through(): readonly string[] {
    return ["/usr/bin/nsenter", `--mount=/proc/${this.#holder.pid}/ns/mnt`, "--"];
  }

  /** The directory as this process can reach it. */
  get directory(): string {
    return `/proc/${this.#holder.pid}/root${this.#path}`;
  }

  /** What is on it, without what takes up space. */
  async files(): Promise<string[]> {
    const names = await readdir(this.directory, { recursive: true });
    return names.filter((name) => !name.startsWith(FILLER)).sort();
  }

  /** @param left how many inodes are to be left */
  async ail(ailment: Ailment, left = 0): Promise<void> {
    if (ailment === "read-only") return this.#remount("ro");
    /* One file takes up room, many without content take up inodes. */
    for (let i = 0; ; i += 1) {
      const isFull = ailment === "full";
      try {
        await appendFile(join(this.directory, `${FILLER}${isFull ? "" : i}`), isFull ? new Uint8Array(4096) : "");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        for (let freed = 1; freed <= left; freed += 1) await rm(join(this.directory, `${FILLER}${i - freed}`));
        return;
      }
    }
  }

  async heal(ailment: Ailment): Promise<void> {
    if (ailment === "read-only") return this.#remount("rw");
    for (const name of await readdir(this.directory)) {
      if (name.startsWith(FILLER)) await rm(join(this.directory, name));
    }
  }

  async #remount(mode: "ro" | "rw"): Promise<void> {
    const [program = "", ...args] = [...this.through, "mount", "-o", `remount,${mode}`, this.#path];
    await execa(program, args);
  }

  async remove(): Promise<void> {
    if (this.#holder.exitCode !== null) return;
    const ended = once(this.#holder, "exit");
    this.#holder.kill("SIGKILL");
    await ended;
  }
}
