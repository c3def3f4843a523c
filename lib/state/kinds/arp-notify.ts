/** Announcing IPv4 addresses. */

import { writeArpNotify } from "../../netlink/address.ts";
import { commandIn, sysctlCommand } from "../commands.ts";
import type { Kernel } from "../kernel.ts";
import { type Batch, Kind } from "../kind.ts";

/** A link of the container that announces its IPv4 addresses when it comes up, or its Ethernet address is set. */
export interface ArpNotifyObject {
  readonly kind: "arp-notify";
  readonly link: string;
}

export class ArpNotifyKind extends Kind {
  readonly #object: ArpNotifyObject;

  constructor(object: ArpNotifyObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set net.ipv4.conf.${this.#object.link}.arp_notify`;
  }

  override commands(netns: string): string[] {
    const path = ["net", "ipv4", "conf", this.#object.link, "arp_notify"];
    return [commandIn("container", netns, sysctlCommand(path, "1"))];
  }

  override batch(): Batch {
    return "requests container";
  }

  override make(kernel: Kernel): void {
    writeArpNotify(kernel.container, kernel.index("container", this.#object.link));
  }
}
