import { RejectError } from './errors.ts'

/** What the Standard Schema specification (standardschema.dev) asks of a schema: Zod, Valibot, ArkType and others have it. */
export interface StandardSchema<T> {
  readonly '~standard': {
    validate(value: unknown): StandardResult<T> | Promise<StandardResult<T>>
  }
}

type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] }

/** How payloads are checked and typed: a Standard Schema, anything with `parse`, or a function that throws. */
export type PayloadSchema<T> = StandardSchema<T> | { parse(value: unknown): T } | ((value: unknown) => T)

/**
 * The payload's JSON as the schema has it.
 * @throws RejectError: it will never fit, so it goes to the dead letters
 */
export async function parsed<T>(schema: PayloadSchema<T>, text: string): Promise<T> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new RejectError('the payload is not JSON', { cause: error })
  }
  if (typeof schema === 'object' && '~standard' in schema) {
    const result = await schema['~standard'].validate(value)
    if (result.issues === undefined) return result.value
    const [issue] = result.issues
    const path = (issue?.path ?? []).map(stepOf).join('.')
    throw new RejectError(`the payload does not fit: ${path === '' ? '' : `${path}: `}${issue?.message}`)
  }
  try {
    return typeof schema === 'function' ? schema(value) : (schema as { parse(value: unknown): T }).parse(value)
  } catch (error) {
    throw new RejectError(`the payload does not fit: ${(error as Error).message}`, { cause: error })
  }
}

function stepOf(step: unknown): string {
  return typeof step === 'object' && step !== null && 'key' in step ? String(step.key) : String(step)
}
