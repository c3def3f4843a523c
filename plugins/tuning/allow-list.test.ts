import { expect, test } from "vitest";
import { CniError } from "../../lib/errors.ts";
import { checkAllowed, parseAllowList } from "./allow-list.ts";

const asked = (...keys: string[]) => keys.map((key) => ({ key, path: [], value: "1" }));

function failure(action: () => void): CniError {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("no failure");
}

test("a list allows what one of its lines matches, as it is written in the configuration", () => {
  const list = parseAllowList("\n  ^net.ipv4.conf.IFNAME.accept_redirects$  \r\n\nsomaxconn\n");
  checkAllowed(asked("net.ipv4.conf.IFNAME.accept_redirects", "net/core/somaxconn", "net.core.somaxconn2"), list);
  const error = failure(() => checkAllowed(asked("net.ipv4.conf.eth0.accept_redirects"), list));
  expect(error).toMatchObject({
    code: 7,
    message:
      "Sysctl net.ipv4.conf.eth0.accept_redirects is not allowed. Only the following sysctls are allowed: " +
      "[^net.ipv4.conf.IFNAME.accept_redirects$ somaxconn]",
  });
});

test("an empty list allows nothing", () => {
  const error = failure(() => checkAllowed(asked("net.core.somaxconn"), parseAllowList("\n \n")));
  expect(error.message).toMatch(/Only the following sysctls are allowed: \[\]$/);
});

test("a line that is no pattern is named", () => {
  expect(failure(() => parseAllowList("^net\n\n(?i)NET"))).toMatchObject({
    code: 7,
    message:
      '/etc/cni/tuning/allowlist.conf, line 3: "(?i)NET" is no pattern: flags and names of groups are not known here, at character 2',
  });
});
