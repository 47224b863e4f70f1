"""The passes of a GPU: `forward` and `backward` say which kernels are launched, on what, in which order.

`rows` launches the kernels with tiles of queries (`forward_kernel`, `dq_kernel`); `dkdv_kernel` has tiles of keys;
`read_gradients` and `read_kernel` sum up gradients of float inputs.
"""
