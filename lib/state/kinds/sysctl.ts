/** Kernel settings. */

import { preferSysctl } from "../../host/sysctl.ts";
import { commandIn, sysctlCommand } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** A kernel setting below /proc/sys. One that the kernel lacks, or that cannot be written, is passed over with a note. */
export interface SysctlObject {
  readonly kind: "sysctl";
  readonly where: Where;
  /** The path's parts: ["net", "ipv6", "conf", "eth0", "accept_ra"]. */
  readonly path: readonly string[];
  readonly value: string;
}

export class SysctlKind extends Kind {
  readonly #object: SysctlObject;

  constructor(object: SysctlObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set ${this.#object.path.join(".")} to ${this.#object.value}`;
  }

  override commands(netns: string): string[] {
    const { where, path, value } = this.#object;
    return [commandIn(where, netns, sysctlCommand(path, value))];
  }

  override batch(): Batch {
    return this.#object.where === "host" ? "settings host" : "settings container";
  }

  override make(_kernel: Kernel): void {
    preferSysctl(this.#object.path, this.#object.value, "the link works, with the setting that it has");
  }
}
