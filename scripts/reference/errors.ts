import { CODES, type CodeInfo } from '../../src/errors/codes.ts';

export function errorReference(): string {
  const rows = Object.entries(CODES as Readonly<Record<string, CodeInfo>>).map(
    ([code, info]) =>
      `### ${code}\n\n${info.what}\n\n- **The trail:** ${info.trail}\n- **What to do:** ${info.action}\n- **Exit code** when it ends a command: ${info.exit}\n`,
  );
  return `<!-- Generated from src/errors/codes.ts by npm run generate. -->

# Errors

Every error has a code that never changes its meaning, says what happened and what to do. Messages never hold row values, passwords or tokens.

${rows.join('\n')}`;
}
