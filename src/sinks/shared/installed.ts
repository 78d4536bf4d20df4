import { AuditError, systemCode } from '../../errors/audit-error.ts';

/**
 * Loads a sink whose client library is an optional package: who does not use it need not install it.
 * @throws AUD_SINK_PACKAGE when the package is not there
 */
export async function installed<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const name = /^Cannot find package '([^']+)'/.exec((cause as Error).message)?.[1];
    if (systemCode(cause) !== 'ERR_MODULE_NOT_FOUND' || name === undefined) throw cause;
    throw new AuditError('AUD_SINK_PACKAGE', {
      message: `The sink needs the package ${name}, which is not installed.`,
      action: `npm install ${name}`,
      retry: 'after_operator',
      cause,
    });
  }
}
