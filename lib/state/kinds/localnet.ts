/** Letting packets for 127.0.0.0/8 be routed out of a link: how the node's own 127.0.0.1 leads to a pod. */
import { localnetSetting } from "../../filter/restore.ts";
import { ensureSysctl, isWritable, preferSysctl, readSysctl } from "../../host/sysctl.ts";
import { shellWord } from "../../text.ts";
import { sysctlCommand } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** A link of the host that 127.0.0.1 leads out of; the packet filter keeps others from coming in that way. Shared. */
export interface LocalnetObject {
  readonly kind: "localnet";
  readonly link: string;
  /** Whether a port is reached by nothing but 127.0.0.0/8, and so is of no use without it. */
  readonly required: boolean;
}

export class LocalnetKind extends Kind {
  readonly #object: LocalnetObject;

  constructor(object: LocalnetObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set net.ipv4.conf.${this.#object.link}.route_localnet`;
  }

  override commands(_netns: string): string[] {
    const { link } = this.#object;
    return [
      `nft add element inet podwire localnet_links ${shellWord(`{ ${link} }`)}`,
      sysctlCommand(localnetSetting(link), "1"),
    ];
  }

  override make(kernel: Kernel): void {
    applyLocalnet(kernel, this.#object);
  }

  override difference(_kernel: Kernel): string | null {
    return differenceInLocalnet(this.#object);
  }

  override restore(kernel: Kernel): boolean {
    applyLocalnet(kernel, this.#object);
    return readSysctl(localnetSetting(this.#object.link)) !== "0";
  }
}

function applyLocalnet(kernel: Kernel, object: LocalnetObject): void {
  const setting = localnetSetting(object.link);
  if (readSysctl(setting) !== "0") return;
  /* It stays when the last pod has gone, so the rule that keeps strangers out has to come back even then. */
  kernel.filter.keepLocalnet(object.link);
  if (object.required) ensureSysctl(setting, "1");
  else preferSysctl(setting, "1", "published ports do not answer at the node's 127.0.0.1");
}

function differenceInLocalnet({ link, required }: LocalnetObject): string | null {
  const setting = localnetSetting(link);
  if (readSysctl(setting) !== "0") return null;
  /* Where it cannot be set ADD has done without. */
  if (!required && !isWritable(setting)) return null;
  return `${setting.join(".")} was 0, expected 1: ports on 127.0.0.1 did not answer`;
}
