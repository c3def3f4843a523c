/** Letting packets for 127.0.0.0/8 be routed out of a link: how the node's own 127.0.0.1 leads to a pod. */
import { CHECK_FAILED, CniError } from "../../errors.ts";
import { localnetSetting } from "../../filter/restore.ts";
import { ensureSysctl, preferSysctl, readSysctl } from "../../host/sysctl.ts";
import type { Kernel } from "../kernel.ts";
import type { LocalnetObject } from "../objects.ts";

export function applyLocalnet(kernel: Kernel, object: LocalnetObject): void {
  const setting = localnetSetting(object.link);
  if (readSysctl(setting) !== "0") return;
  /* It stays when the last pod has gone, so the rule that keeps strangers out has to come back even then. */
  kernel.filter.keepLocalnet(object.link);
  if (object.required) ensureSysctl(setting, "1");
  else preferSysctl(setting, "1", "published ports do not answer at the node's 127.0.0.1");
}

/** Reloads of sysctl.conf set it back, so it is set again at once. @throws CniError 101 if it was not as it should be */
export function checkLocalnet(kernel: Kernel, object: LocalnetObject): void {
  const setting = localnetSetting(object.link);
  if (readSysctl(setting) !== "0") return;
  applyLocalnet(kernel, object);
  /* Where it cannot be set ADD has done without. */
  if (!object.required && readSysctl(setting) === "0") return;
  throw new CniError(
    CHECK_FAILED,
    `${setting.join(".")} was 0, expected 1: ports on 127.0.0.1 did not answer`,
    "somebody set it back; it has been set again",
  );
}
