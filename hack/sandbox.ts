/**
 * A machine within the machine: its own network, mounts and processes, over at the latest when its first process ends.
 * What a program does in there to links, addresses, named namespaces and files below /run is gone with it, however it
 * ended.
 */
import { execa } from "execa";

const MARK = "PODWIRE_SANDBOX";
/** How long a script may take to end once it was told to. */
const GRACE_MS = 5000;

/** Whether this process is inside. */
export function inSandbox(): boolean {
  return process.env[MARK] === "1";
}

/**
 * Runs a script of this project inside, with this terminal, and returns its exit status. SIGINT and SIGTERM are handed
 * on to it, so that it can say what it did not finish.
 * @param script path of a TypeScript file
 */
export async function runInSandbox(script: string, parameters: readonly string[]): Promise<number> {
  if (process.getuid?.() !== 0) {
    console.error("network namespaces are for root: please run this as root");
    return 1;
  }
  /* In a process group of its own, to be reached with one kill; unshare itself ignores these signals. */
  const child = execa(
    "unshare",
    [
      ...["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"],
      ...[process.execPath, script, ...parameters],
    ],
    { env: { [MARK]: "1" }, stdio: ["ignore", "inherit", "inherit"], reject: false, detached: true },
  );
  let stopping = false;
  const stop = (signal: "SIGINT" | "SIGTERM") => {
    stopping = true;
    if (child.pid !== undefined) process.kill(-child.pid, signal);
    /* As the first process of its own, a script that has no handlers yet does not get the signal. */
    setTimeout(() => child.kill("SIGKILL"), GRACE_MS).unref();
  };
  process.on("SIGINT", () => stop("SIGINT"));
  process.on("SIGTERM", () => stop("SIGTERM"));
  const { exitCode } = await child;
  if (stopping) return 130;
  return exitCode ?? 1;
}

/** Inside: gives the sandbox its own /run (where `ip netns` keeps names) and brings the loopback interface up. */
export async function furnishSandbox(): Promise<void> {
  await execa("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
  await execa("ip", ["link", "set", "lo", "up"]);
}
