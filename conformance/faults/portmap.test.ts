/** portmap under faults, with both ways into the packet filter. */
import { PORTMAP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const subject of PORTMAP) describeFaults(subject);
