/** Kernel settings that somebody asked for. */
import { HIDDEN, isSameSetting, missingSysctl, requireSysctl, sysctlPath, sysctlValue } from "../../host/sysctl.ts";
import { textAt } from "../../lists.ts";
import { commandIn, sysctlCommand } from "../commands.ts";
import type { Kernel, Where } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** A kernel setting below /proc/sys/net that must have a value. That it cannot be set is an error, unlike with `sysctl`. */
export interface RequiredSysctlObject {
  readonly kind: "required-sysctl";
  readonly where: Where;
  /** The path's parts: ["net", "ipv4", "conf", "eth0", "arp_announce"]. */
  readonly path: readonly string[];
  readonly value: string;
  /** The value before; null if it is not known, and nothing is undone. */
  readonly former: string | null;
}

export class RequiredSysctlKind extends Kind {
  readonly #object: RequiredSysctlObject;

  constructor(object: RequiredSysctlObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set ${this.#object.path.join("/")} to ${this.#object.value}`;
  }

  override commands(netns: string): string[] {
    const { where, path, value } = this.#object;
    return [commandIn(where, netns, sysctlCommand(path, value))];
  }

  override make(kernel: Kernel): void {
    const { where, path, value } = this.#object;
    inside(kernel, where, () => requireSysctl(path, value));
  }

  override difference(kernel: Kernel): string | null {
    const { where, path, value } = this.#object;
    const values: string[] = [];
    inside(kernel, where, () => {
      const found = sysctlValue(path);
      if (found !== null) values.push(found);
    });
    const configured = `Error: Tuning configured value of ${sysctlPath(path)} is ${value}`;
    if (values.length === 0) return `${configured}, there is no such setting`;
    const found = textAt(values, 0);
    return found === HIDDEN || isSameSetting(found, value) ? null : `${configured}, current value is ${found}`;
  }

  override undo(kernel: Kernel): void {
    const { where, path, former } = this.#object;
    if (former !== null) restoreSysctl(kernel, where, path, former);
  }

  override undoneInDoubt(): boolean {
    return true;
  }
}

/** The values of settings, HIDDEN for one that cannot be read. @throws CniError 100 if the kernel lacks one; SystemError */
export function readSysctls(kernel: Kernel, where: Where, paths: readonly (readonly string[])[]): string[] {
  const values: string[] = [];
  if (paths.length === 0) return values;
  inside(kernel, where, () => {
    for (const path of paths) {
      const value = sysctlValue(path);
      if (value === null) throw missingSysctl(path);
      values.push(value);
    }
  });
  return values;
}

/** Gives a setting the value that it had, if the kernel still has it. @throws CniError 100, SystemError */
export function restoreSysctl(kernel: Kernel, where: Where, path: readonly string[], value: string): void {
  inside(kernel, where, () => {
    if (sysctlValue(path) !== null) requireSysctl(path, value);
  });
}

function inside(kernel: Kernel, where: Where, action: () => void): void {
  if (where === "container") kernel.inContainer(action);
  else action();
}
