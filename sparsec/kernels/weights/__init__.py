"""What a call may change about the weights of the softmax: learned sinks, dropout."""
