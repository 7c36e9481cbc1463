// The service: requests, its clock, and what its refusals mean.

export const REQUEST_TIMEOUT_MS = 15_000;

class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail ?? problem?.title ?? `The service failed (HTTP ${status}). Nothing was decided.`);
    this.status = status;
    this.code = problem?.code;
    this.unmet = Array.isArray(problem?.unmet) ? problem.unmet : [];
    this.retryAt = retryAfter ? Date.now() + Math.min(retryAfter, 3600) * 1000 : null;
  }

  get transient() {
    return this.status === 429 || this.status >= 500 || this.status === 0;
  }
}

// Expiry times are the service's; a wrong clock here must not end a session early or keep a dead one.
export let clockSkew = 0;
export const serverNow = () => Date.now() + clockSkew;

export async function api(path, { method = 'GET', body, token } = {}) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  } catch {
    throw new Refusal(0, { detail: 'The service did not answer. Check your connection.' });
  }
  const date = Date.parse(response.headers.get('date') ?? '');
  // Date has whole seconds: a smaller difference is none.
  if (!Number.isNaN(date)) clockSkew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  const parsed = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok && (parsed !== null || response.status === 204)) return parsed;
  throw new Refusal(response.status, parsed, Number(response.headers.get('retry-after')) || null);
}

/** What went wrong, in words for the person, and what they can do about it. */
export function explainFailure(error, retry) {
  if (!error?.transient) return { kind: 'error', text: error?.message || 'Something went wrong.' };
  return { kind: 'wait', text: error.message, retry, retryAt: error.retryAt };
}
