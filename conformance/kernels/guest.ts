/** An emulated machine: a kernel, an initramfs made of its modules and init.sh, and the host's files, read-only. */
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { execa } from "execa";
import type { Architecture, Kernel } from "./fetch.ts";
import type { Userland } from "./userland.ts";

/** How a machine of an architecture is emulated. */
interface Emulation {
  readonly program: string;
  readonly machine: readonly string[];
  /** Devices in the machine: what is typed and printed, and where the results go. */
  readonly console: string;
  readonly results: string;
  readonly resultsDevice: (file: string) => readonly string[];
  readonly append: string;
}

/* `max` is every feature that the emulation has; of arm64's, signed pointers are too slow to emulate. */
const EMULATIONS: Readonly<Record<Architecture, Emulation>> = {
  amd64: {
    program: "qemu-system-x86_64",
    machine: ["-cpu", "max"],
    ...{ console: "ttyS0", results: "ttyS1" },
    resultsDevice: (file) => ["-serial", `file:${file}`],
    append: "mitigations=off no_timer_check",
  },
  arm64: {
    program: "qemu-system-aarch64",
    machine: ["-M", "virt", "-cpu", "cortex-a72"],
    ...{ console: "ttyAMA0", results: "ttyS0" },
    resultsDevice: (file) => ["-chardev", `file,id=results,path=${file}`, "-device", "pci-serial,chardev=results"],
    append: "mitigations=off",
  },
};

/** What init.sh needs before it sees the host's files, each with all that it depends on; built in is as good. */
const EARLY_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng"];
const MEMORY_MIB = 3072;
const CPUS = 1;
/** Seconds for the kernel to start and to stop, on a busy host. */
const BOOT_SECONDS = 240;

export interface Boot {
  /** Modules that are loaded before the suites, because somebody else on a node of Kubernetes would have seen to it. */
  readonly modules: readonly string[];
  /** What is added to the kernel's command line. */
  readonly append: string;
  /** Test files, relative to the repository. */
  readonly suites: readonly string[];
  /** How many seconds they may take together; then the machine is ended. */
  readonly limitSeconds: number;
  /** How many times longer than on the host a test may take. */
  readonly patience: number;
}

/**
 * Starts a machine and waits for its end, at most so long as it may take. Returns the lines that the reporter and start.sh
 * have sent, whether it came to its end or not.
 * @param userland of the kernel's architecture
 * @param log the file that all on its console goes to
 */
export async function runGuest(kernel: Kernel, boot: Boot, userland: Userland, log: string): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), `pwt-${process.pid}-`));
  try {
    const initramfs = await makeInitramfs(directory, kernel, userland, parameters(kernel, boot, userland));
    const results = join(directory, "results");
    await writeFile(results, "");
    await execa(EMULATIONS[kernel.architecture].program, qemuArguments(kernel, boot, userland, initramfs, results), {
      ...{ stdin: "ignore", stdout: { file: log }, stderr: { file: log }, reject: false, cleanup: true },
      ...{ timeout: (boot.limitSeconds + BOOT_SECONDS) * 1000, killSignal: "SIGKILL" },
    });
    const text = await readFile(results, "utf8");
    return text.split("\n").filter((line) => line !== "");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** No network device: what the suites need, they make. */
function qemuArguments(kernel: Kernel, boot: Boot, userland: Userland, initramfs: string, results: string): string[] {
  const { machine, console, append, resultsDevice } = EMULATIONS[kernel.architecture];
  const share = (path: string, tag: string) => [
    ...["-virtfs", `local,path=${path},mount_tag=${tag},security_model=none,readonly=on,multidevs=remap`],
  ];
  return [
    ...["-accel", "tcg", ...machine, "-smp", `${CPUS}`, "-m", `${MEMORY_MIB}`],
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"],
    ...["-device", "virtio-rng-pci", "-serial", "stdio", ...resultsDevice(results)],
    ...["-kernel", kernel.image, "-initrd", initramfs],
    /* Mitigations would slow each system call down and keep nobody out here; on a busy host, ticks come late. */
    ...["-append", `console=${console} quiet panic=-1 ${append} ${boot.append}`],
    ...share(userland.root, "host"),
    ...share(kernel.modules, "modules"),
  ];
}

/** Shell assignments for init.sh and start.sh. */
function parameters({ architecture }: Kernel, boot: Boot, { repository, executables }: Userland): string {
  const values = {
    REPOSITORY: repository,
    EXECUTABLES: executables,
    KEEP: [repository, ...(executables.startsWith(`${repository}/`) ? [] : [executables])].join(" "),
    RESULTS: `/dev/${EMULATIONS[architecture].results}`,
    MODULES: boot.modules.join(" "),
    SUITES: boot.suites.join(" "),
    LIMIT: boot.limitSeconds,
    PATIENCE: boot.patience,
  };
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value}'\n`)
    .join("");
}

/** Makes the initramfs in a directory: busybox, init.sh, the early modules uncompressed and in order. */
async function makeInitramfs(
  directory: string,
  kernel: Kernel,
  userland: Userland,
  assignments: string,
): Promise<string> {
  const root = join(directory, "root");
  for (const name of ["bin", "dev", "modules", "proc", "sys"]) await mkdir(join(root, name), { recursive: true });
  const { stdout: own } = await execa("which", ["busybox"]);
  await copyFile(userland.root === "/" ? own : join(userland.root, "usr/bin/busybox"), join(root, "bin/busybox"));
  await copyFile(join(import.meta.dirname, "init.sh"), join(root, "init"));
  await chmod(join(root, "init"), 0o755);
  await writeFile(join(root, "parameters"), assignments);
  const order: string[] = [];
  const needed = modulesInOrder(await readFile(join(kernel.modules, "modules.dep"), "utf8"), EARLY_MODULES);
  for (const path of needed) {
    const name = basename(path).replace(/\.xz$/, "");
    const source = join(kernel.modules, path);
    if (path.endsWith(".xz")) {
      const { stdout } = await execa("busybox", ["xzcat", source], { encoding: "buffer", stripFinalNewline: false });
      await writeFile(join(root, "modules", name), stdout);
    } else await copyFile(source, join(root, "modules", name));
    order.push(name);
  }
  await writeFile(join(root, "modules/order"), order.map((name) => `${name}\n`).join(""));
  const archive = join(directory, "initramfs");
  await execa("sh", ["-c", `find . | busybox cpio -o -H newc > ${archive}`], { cwd: root });
  return archive;
}

/**
 * The files of modules and of those that they depend on, in an order to load them in. Those that are not listed are built
 * in.
 * @param listing the text of modules.dep: "path: path-of-dependency ...", what is needed first last
 */
export function modulesInOrder(listing: string, names: readonly string[]): string[] {
  const order: string[] = [];
  for (const name of names) {
    const line = listing.split("\n").find((entry) => new RegExp(`(^|/)${name}\\.ko(\\.\\w+)?:`).test(entry));
    if (line === undefined) continue;
    const [path = "", dependencies = ""] = line.split(":");
    for (const file of [...dependencies.split(" ").reverse(), path])
      if (file !== "" && !order.includes(file)) order.push(file);
  }
  return order;
}
