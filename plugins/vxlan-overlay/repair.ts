/** `vxlan-overlay repair [FILE...]`: for a timer, which has no configuration, or the path of a network's file. */
import { MAX_CONFIG_BYTES, readConfig } from "../../lib/cni/config.ts";
import { Fields } from "../../lib/cni/fields.ts";
import { formatJson, JsonError, jsonString, parseJson } from "../../lib/cni/json.ts";
import { CniError, INVALID_CONFIG, IO_FAILURE, NOT_AVAILABLE } from "../../lib/errors.ts";
import { readAll, warn } from "../../lib/host/io.ts";
import { deviceName, type OverlaySettings } from "../../lib/overlay/settings.ts";
import { recordedConfigurations } from "../../lib/overlay/state-file.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { errnoText } from "../../lib/sys/errno.ts";
import * as sys from "../../lib/sys/sys.ts";
import { readOverlayConfig } from "./config.ts";
import { reconcileNode } from "./node.ts";

/** The index of the first file in the command line. */
const FIRST_FILE = 3;

/**
 * Compares overlays with the kernel and their peers, and repairs what is different: those of the configurations in the files,
 * which may not exist yet, and every other one that was made in this network namespace since the node started, by the
 * configuration of the last call.
 * @returns whether anything was different
 * @throws CniError the first problem, after all overlays were looked at
 */
export function repair(): boolean {
  const run = new Run();
  try {
    for (const file of process.argv.slice(FIRST_FILE)) run.attempt(() => run.all(configurationsIn(file)));
    run.all(recordedConfigurations());
  } finally {
    run.kernel.close();
  }
  if (run.failure !== null) throw run.failure;
  return run.changed;
}

class Run {
  readonly kernel = Kernel.forHost();
  changed = false;
  failure: CniError | null = null;
  /** The devices that were repaired. */
  readonly #done: string[] = [];

  all(configurations: readonly string[]): void {
    for (const json of configurations) {
      this.attempt(() => this.#one(readOverlayConfig(readConfig(new TextEncoder().encode(json)))));
    }
  }

  /** Runs an action; after a failure the others are run nevertheless. */
  attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      this.failure = this.failure ?? error;
    }
  }

  #one(settings: OverlaySettings): void {
    const device = deviceName(settings);
    if (this.#done.includes(device)) return;
    this.#done.push(device);
    const outcome = reconcileNode(this.kernel, settings, "full");
    this.changed = outcome.changed || this.changed;
    for (const note of outcome.notes) warn(`vxlan-overlay: ${device}: ${note}\n`);
    if (outcome.problem !== "") throw new CniError(NOT_AVAILABLE, `${device}: ${outcome.problem}`, "");
  }
}

/** The overlays' configurations in a list of plugins or in the configuration of one, as JSON with `cniVersion` and `name`. */
function configurationsIn(file: string): string[] {
  const fields = readList(file);
  const plugins = fields.has("plugins") ? fields.objects("plugins") : [fields];
  const found: string[] = [];
  for (const plugin of plugins) {
    if (plugin.string("type", "") !== "vxlan-overlay") continue;
    const { json } = plugin;
    for (const key of ["cniVersion", "name"]) if (!plugin.has(key)) json.with(key, jsonString(fields.string(key, "")));
    found.push(formatJson(json));
  }
  if (found.length > 0) return found;
  throw new CniError(INVALID_CONFIG, `${file} has no plugin of the type "vxlan-overlay"`);
}

function readList(file: string): Fields {
  const fd = sys.open(file, sys.O_RDONLY | sys.O_NONBLOCK);
  if (fd < 0) throw new CniError(IO_FAILURE, `cannot open ${file}: ${errnoText(-fd)}`);
  try {
    const json = parseJson(readAll(fd, MAX_CONFIG_BYTES, file));
    if (json.kind === "object") return new Fields(json, "");
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new CniError(INVALID_CONFIG, `${file} is not JSON: ${error.message}`);
  } finally {
    sys.close(fd);
  }
  throw new CniError(INVALID_CONFIG, `${file} is no JSON object`);
}
